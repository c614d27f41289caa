/**
 * Labels that an image wants on the volume, from its environment (contract: import §11):
 * `INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora` → `instancetype.kubevirt.io/default-preference: fedora`.
 *
 * They travel in the termination message of the worker, of which 4096 bytes survive, and end on a claim, whose update one
 * invalid label would spoil. So only valid ones are handed on, and not more than fit.
 */
import { isLabelKey, isLabelValue } from '../../../src/api/label-syntax.ts'
import type { Log } from '../../../src/log.ts'

const marker = 'KUBEVIRT_IO_'
/** What the labels may take of the termination message, in bytes as JSON; the rest of the message is a hundred. */
const budgetBytes = 3072
const mostShown = 10
const longestShown = 100

/** These decide how a virtual machine is made of the volume: they are kept when not all fit. */
const firstLabels: ReadonlySet<string> = new Set(
  ['instancetype', 'instancetype-kind', 'preference', 'preference-kind'].map(
    (name) => `instancetype.kubevirt.io/default-${name}`,
  ),
)

/** Reads `NAME=value` lines; of several with one name the last counts. What cannot be handed on is logged. */
export function labelsOf({ env, log }: { env: readonly string[]; log: Log }): Readonly<Record<string, string>> {
  const wanted = env.map(labelOf).filter((label) => label !== undefined)
  const valid = wanted.filter(({ key, value }) => isLabelKey(key) && isLabelValue(value))
  const labels = withinBudget(new Map(valid.map(({ key, value }) => [key, value])))
  const left = wanted.filter(({ key, value }) => labels[key] === undefined || !isLabelValue(value))
  if (left.length > 0) {
    const shown = left.slice(0, mostShown).map(({ key, value }) => `${key}=${value}`.slice(0, longestShown))
    log.warn(
      { labels: shown, count: left.length },
      'labels that the image wants are left out: they are not valid, or too many',
    )
  }
  return labels
}

interface Label {
  readonly key: string
  readonly value: string
}

/** The label that a variable asks for; undefined for any other variable. */
function labelOf(line: string): Label | undefined {
  const equals = line.indexOf('=')
  const name = line.slice(0, Math.max(0, equals))
  const at = name.indexOf(marker)
  if (at === -1) return undefined
  const before = name.slice(0, at).replace(/_$/, '')
  const domain = before === '' ? '' : `${before.replaceAll('_', '.')}.`
  const rest = name.slice(at + marker.length).replaceAll('_', '-')
  return { key: `${domain}kubevirt.io/${rest}`.toLowerCase(), value: line.slice(equals + 1) }
}

function withinBudget(wanted: ReadonlyMap<string, string>): Record<string, string> {
  const inOrder = [...wanted].sort(([a], [b]) => Number(firstLabels.has(b)) - Number(firstLabels.has(a)))
  const labels: Record<string, string> = {}
  let leftBytes = budgetBytes
  for (const [key, value] of inOrder) {
    // Keys and values are plain ASCII: two pairs of quotes, a colon and a comma.
    const bytes = key.length + value.length + 6
    if (bytes > leftBytes) continue
    leftBytes -= bytes
    labels[key] = value
  }
  return labels
}
