/** The flights of the demo: real ones, from January to March 2001, as the npm package vega-datasets ships them. */
import { readFile } from 'node:fs/promises'

export type Flight = { date: string; delay: number; distance: number; origin: string; destination: string }

/** A flight as it is sent: `sequence` counts the flights of its airport from 0, so that their order can be judged. */
export type NumberedFlight = Flight & { sequence: number }

/** How an airport did. The sum, not the mean, is compared: whole numbers leave no room for rounding. */
export type AirportFigures = { flights: number; delaySum: number }

/** In order of time. */
export async function loadFlights(): Promise<NumberedFlight[]> {
  const flights = JSON.parse(await readFile(locate(), 'utf8')) as Flight[]
  flights.sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : 0))
  const counts = new Map<string, number>()
  return flights.map((flight) => {
    const sequence = counts.get(flight.origin) ?? 0
    counts.set(flight.origin, sequence + 1)
    return { ...flight, sequence }
  })
}

function locate(): URL {
  try {
    return new URL('../data/flights-20k.json', import.meta.resolve('vega-datasets'))
  } catch (cause) {
    throw new Error(
      'its flights are in the npm package vega-datasets, which is not installed: npm install vega-datasets',
      { cause },
    )
  }
}

/** The same arithmetic for the file and for what was consumed. */
export function figuresOf(flights: Iterable<Flight>): Map<string, AirportFigures> {
  const figures = new Map<string, AirportFigures>()
  for (const { origin, delay } of flights) {
    const airport = figures.get(origin) ?? { flights: 0, delaySum: 0 }
    airport.flights++
    airport.delaySum += delay
    figures.set(origin, airport)
  }
  return figures
}
