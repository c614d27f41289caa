/**
 * Metrics: one registry per process, made by its main and handed on. A metric is named where it is measured; these helpers
 * make it there on first use and find it again afterwards, so that many controllers share one metric with a label.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export { Registry } from 'prom-client'
export type { Counter, Gauge, Histogram } from 'prom-client'

export interface MetricFacts<Label extends string> {
  readonly name: string
  readonly help: string
  readonly labels?: readonly Label[]
}

/** A registry that knows nothing yet. */
export function createRegistry(): Registry {
  return new Registry()
}

export function counter<Label extends string>(registry: Registry, facts: MetricFacts<Label>): Counter<Label> {
  const { name, help, labels = [] } = facts
  const known = registry.getSingleMetric(name) as Counter<Label> | undefined
  return known ?? new Counter({ name, help, labelNames: [...labels], registers: [registry] })
}

export function gauge<Label extends string>(registry: Registry, facts: MetricFacts<Label>): Gauge<Label> {
  const { name, help, labels = [] } = facts
  const known = registry.getSingleMetric(name) as Gauge<Label> | undefined
  return known ?? new Gauge({ name, help, labelNames: [...labels], registers: [registry] })
}

/** A gauge whose value is asked for at each scrape. */
export function measured(registry: Registry, { name, help }: MetricFacts<never>, read: () => number): void {
  const asked = new Gauge({
    name,
    help,
    collect() {
      this.set(read())
    },
    registers: [],
  })
  registry.registerMetric(asked)
}

/** @param facts.buckets upper bounds, in the unit that the name tells */
export function histogram<Label extends string>(
  registry: Registry,
  facts: MetricFacts<Label> & { readonly buckets: readonly number[] },
): Histogram<Label> {
  const { name, help, labels = [], buckets } = facts
  const known = registry.getSingleMetric(name) as Histogram<Label> | undefined
  return known ?? new Histogram({ name, help, labelNames: [...labels], buckets: [...buckets], registers: [registry] })
}

/** From a millisecond to a quarter of an hour, for work on API objects. */
export const secondsBuckets = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 900] as const
