/**
 * The name of every subject: `mq.<cluster>.<to>.<id>.<message-in-kebab>`. Subjects are built here and nowhere else.
 *
 * THE ADDRESS CARRIES THE EPOCH: a master listens only under its own epoch, so whoever talks to an old one reaches
 * nobody, and "no responders" says so in one round trip.
 *
 * A subject is typed by what travels on it: `Subject<Request, Answer>`; codec.ts turns both into bytes and back.
 */
import type { Json } from '../machines/effect.ts'
import type { Vote } from '../machines/group-state.ts'
import type { TopicRoute } from '../machines/topic.ts'
import type * as m from './messages.ts'
import type * as p from './pop-messages.ts'
import type { Held } from './register.ts'

declare const carries: unique symbol
/** A subject on which a `Request` travels and, where one is asked for, a `Reply<Answer>` comes back. */
export type Subject<Request, Answer = never> = string & { readonly [carries]?: [Request, Answer] }

export const subjectsOf = (cluster: string) => {
  const subject = <Request, Answer = never>(...tokens: (string | number)[]): Subject<Request, Answer> =>
    ['mq', cluster, ...tokens].join('.')

  return {
    cluster,
    /** To every name server; each decides for itself. */
    nameServer: {
      register: subject<m.Registration>('name-server', 'register'),
      beat: subject<m.BrokerBeat>('name-server', 'beat'),
      unregister: subject<m.BrokerLeave>('name-server', 'unregister'),
      /** From a name server to every broker: register now. */
      started: subject<{ nameServerId: string }>('name-server', 'started'),
      /** To any ONE name server that answers (queue group `nameServerQueue`). */
      route: subject<{ topic: string }, TopicRoute | null>('name-server', 'route'),
      cluster: subject<Record<string, never>, m.ClusterView>('name-server', 'cluster'),
      topics: subject<Record<string, never>, m.TopicOverview[]>('name-server', 'topics'),
    },
    nameServerQueue: 'name-server',
    /** Pushed by every name server when the route of a topic, or the set of brokers, changed. */
    routeChanged: (topic: string) => subject<TopicRoute>('route', topic),
    clusterChanged: subject<m.ClusterView>('cluster-changed'),

    /** To a broker process, whatever its role. */
    brokerProcess: (brokerName: string, brokerId: number) => ({
      registerAgain: subject<Record<string, never>>('broker-process', brokerName, brokerId, 'register-again'),
      refused: subject<m.RegistrationRefused>('broker-process', brokerName, brokerId, 'registration-refused'),
      /** Answered as long as the process lives and its loop turns; what it tells may be a moment old. */
      ping: subject<Record<string, never>, m.ReplicaBeat>('broker-process', brokerName, brokerId, 'ping'),
      vote: subject<Record<string, never>, Vote>('broker-process', brokerName, brokerId, 'vote'),
      describe: subject<Record<string, never>, m.BrokerDescription>(
        'broker-process',
        brokerName,
        brokerId,
        'describe',
      ),
      /** From the master of this epoch: the bytes of the log (stream.ts). */
      data: (epoch: number) => subject<Uint8Array>('broker-process', brokerName, brokerId, 'data', epoch),
    }),
    /** To all that belong to a broker name. */
    replicas: (brokerName: string) => ({
      /** From each replica, several times a second, to controllers and to the other replicas. */
      beat: subject<m.ReplicaBeat>('replica', brokerName, 'beat'),
      /** While there is no master: any slave that holds confirmed messages (queue group `replicaQueue`). */
      pull: subject<m.PullRequest, Uint8Array>('replica', brokerName, 'pull'),
      /** The same: any slave of the sync state set. */
      searchOffset: subject<m.OffsetSearch, { offset: number }>('replica', brokerName, 'search-offset'),
    }),
    replicaQueue: 'replica',
    controllerQueue: 'controller',
    /** To any ONE controller (queue group `controllerQueue`). */
    controller: {
      /** A person orders that this replica becomes master though it may have lost messages. */
      electUnclean: subject<{ brokerName: string; brokerId: number }, Record<string, never>>(
        'controller',
        'elect-unclean',
      ),
    },
    /** The register, where a node serves it; `key` is a broker name. */
    register: {
      read: subject<{ key: string }, Held | null>('register', 'read'),
      swap: subject<m.SwapRequest, m.SwapAnswer>('register', 'swap'),
      /** Pushed by whoever swapped: a hint to all who watch. */
      changed: (key: string) => subject<Held>('register', 'changed', key),
      /** What JetStream stores, and the stream that stores it: one for each key, and nothing else in it. */
      value: (key: string) => subject<Json>('register', 'value', key),
      // Neither name can hold a plus, so no two pairs share a stream.
      stream: (key: string) => `statemq+${cluster}+${key}`,
    },

    /** To the master of one epoch, and to nobody else. `send` and `pull` are binary (exchange.ts). */
    broker: (brokerName: string, epoch: number) => {
      const to = <Request, Answer>(message: string) =>
        subject<Request, Answer>('broker', brokerName, epoch, message)
      return {
        send: to<Uint8Array, Uint8Array>('send'),
        pull: to<m.PullRequest, Uint8Array>('pull'),
        sendBack: to<m.SendBackRequest, m.SendBackAnswer>('send-back'),
        createTopic: to<m.TopicOrder, m.TopicConfig>('create-topic'),
        deleteTopic: to<{ topic: string }, Record<string, never>>('delete-topic'),
        queues: to<{ topic: string }, m.QueueBounds[]>('queues'),
        searchOffset: to<m.OffsetSearch, { offset: number }>('search-offset'),
        claim: to<m.ClaimRequest, m.ClaimAnswer>('claim'),
        release: to<m.ReleaseRequest, Record<string, never>>('release'),
        commit: to<m.CommitRequest, m.CommitAnswer>('commit'),
        /** The answer is binary (pop-exchange.ts). */
        popReceive: to<p.PopRequest, Uint8Array>('pop-receive'),
        popWait: to<p.PopWait, p.PopWaitAnswer>('pop-wait'),
        popSettle: to<p.PopSettle, p.PopSettleAnswer>('pop-settle'),
        popLeave: to<p.PopLeave, Record<string, never>>('pop-leave'),
        resetOffsets: to<m.OffsetReset, Record<string, never>>('reset-offsets'),
        group: to<{ group: string }, m.GroupOnBroker>('group'),
        groupLags: to<m.LagsRequest, m.Lags>('group-lags'),
        groups: to<Record<string, never>, string[]>('groups'),
        describe: to<Record<string, never>, m.BrokerDescription>('describe'),
        /** From a slave: send me the log from here on. */
        follow: to<m.FollowRequest, m.FollowAnswer>('follow'),
        /** From a slave: stored up to here (stream.ts). */
        ack: to<Uint8Array, never>('ack'),
        handOver: to<{ brokerId: number }, { epoch: number }>('hand-over'),
        /** The coordinator of a group is one broker: see `coordinatorOf`. */
        join: to<m.JoinRequest, m.JoinAnswer>('join'),
        beat: to<m.MemberBeat, Record<string, never>>('member-beat'),
        leave: to<m.MemberLeave, Record<string, never>>('leave'),
        doubt: to<m.OwnerDoubt, m.OwnerDoubtAnswer>('doubt'),
      }
    },
    /** From a group's coordinator to one member: which queues are its share. Answered when it is heard. */
    assignmentChanged: (group: string, clientId: string) =>
      subject<m.AssignmentPush, Record<string, never>>('group', group, 'assignment-changed', clientId),

    /** First sight of state. `list` is heard by every process, and each answers for its own actors. */
    inspect: {
      list: subject<Record<string, never>, m.ActorView[]>('inspect', 'list'),
      show: (address: string) =>
        subject<Record<string, never>, m.ActorView>('inspect', 'show', ...tokensOf(address)),
      /** Asks the process that hosts the actor to publish its transitions for the next `leaseMs`. */
      watch: (address: string) =>
        subject<{ leaseMs: number }, m.ActorView>('inspect', 'watch', ...tokensOf(address)),
      transitions: (address: string) => subject<m.Transition>('inspect', 'transitions', ...tokensOf(address)),
    },
  }
}

export type Subjects = ReturnType<typeof subjectsOf>

/** The interface of NATS's JetStream, whose subjects NATS names. A stream's name stands at the end. */
export const jetStreamSubjects = {
  info: '$JS.API.INFO',
  createStream: (stream: string) => `$JS.API.STREAM.CREATE.${stream}`,
  streamInfo: (stream: string) => `$JS.API.STREAM.INFO.${stream}`,
  getMessage: (stream: string) => `$JS.API.STREAM.MSG.GET.${stream}`,
}

/** An actor's address, `broker/broker-a/0`, as tokens of a subject. */
const tokensOf = (address: string): string[] => address.split('/')
