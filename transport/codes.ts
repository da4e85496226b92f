/**
 * Codes of answers: RocketMQ's numbers where RocketMQ has one (remoting/protocol/ResponseCode.java), ours from 9001.
 *
 * They travel in replies. A code says whether the order was carried out; `retryable` says whether to ask again.
 */
export const codes = {
  SUCCESS: 0,
  SYSTEM_ERROR: 1,
  SYSTEM_BUSY: 2,
  REQUEST_CODE_NOT_SUPPORTED: 3,
  FLUSH_DISK_TIMEOUT: 10,
  MESSAGE_ILLEGAL: 13,
  SERVICE_NOT_AVAILABLE: 14,
  VERSION_NOT_SUPPORTED: 15,
  NO_PERMISSION: 16,
  TOPIC_NOT_EXIST: 17,
  PULL_NOT_FOUND: 19,
  PULL_RETRY_IMMEDIATELY: 20,
  PULL_OFFSET_MOVED: 21,
  QUERY_NOT_FOUND: 22,
  SUBSCRIPTION_PARSE_FAILED: 23,
  SUBSCRIPTION_GROUP_NOT_EXIST: 26,
  INVALID_PARAMETER: 29,
  CONTROLLER_INVALID_REPLICAS: 2003,
  CONTROLLER_MASTER_NOT_AVAILABLE: 2004,
  CONTROLLER_MASTER_STILL_EXIST: 2011,
  CONTROLLER_ELECT_MASTER_FAILED: 2012,
  CONTROLLER_BROKER_ID_INVALID: 2014,
  OUT_OF_ORDER_SEQUENCE: 9001,
  FENCED_OWNER: 9002,
  NOT_MASTER: 9004,
  CORRUPT_FRAME: 9005,
  IN_SYNC_REPLICAS_NOT_ENOUGH: 9006,
  /** The name that RocketMQ's gRPC has for it. */
  INVALID_RECEIPT_HANDLE: 9010,
} as const

export type CodeName = keyof typeof codes
export type Code = (typeof codes)[CodeName]

const names = new Map<number, CodeName>(Object.entries(codes).map(([name, code]) => [code, name as CodeName]))

/** The name of a number that came over the wire; a number nobody knows reads as SYSTEM_ERROR. */
export const codeName = (code: number): CodeName => names.get(code) ?? 'SYSTEM_ERROR'

// RocketMQ: DefaultMQProducer.retryResponseCodes, plus ours.
const retryable = new Set<CodeName>([
  'SYSTEM_ERROR',
  'SYSTEM_BUSY',
  'SERVICE_NOT_AVAILABLE',
  'NO_PERMISSION',
  'TOPIC_NOT_EXIST',
  'OUT_OF_ORDER_SEQUENCE',
  'NOT_MASTER',
  'CORRUPT_FRAME',
  'IN_SYNC_REPLICAS_NOT_ENOUGH',
  'CONTROLLER_MASTER_NOT_AVAILABLE',
])
export const isRetryable = (name: CodeName): boolean => retryable.has(name)
