/**
 * The syntax of schedules in cron format, as Kubernetes' CronJob takes them (github.com/robfig/cron, `ParseStandard`): five
 * fields with lists, ranges, steps and English names of months and days, or a descriptor such as `@daily`.
 */

interface Field {
  readonly least: number
  readonly most: number
  readonly names?: readonly string[]
}

/** Minute, hour, day of the month, month, day of the week. */
const fields: readonly Field[] = [
  { least: 0, most: 59 },
  { least: 0, most: 23 },
  { least: 1, most: 31 },
  {
    least: 1,
    most: 12,
    names: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  },
  { least: 0, most: 6, names: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
]

const descriptors = new Set(['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly'])

/** `@every` and a Go duration. */
const interval = /^@every (\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*$/

export function isCronSchedule(text: string): boolean {
  if (text.startsWith('@')) return descriptors.has(text) || interval.test(text)
  const parts = text.trim().split(/\s+/)
  return parts.length === fields.length && fields.every((field, at) => isList(parts[at] ?? '', field))
}

function isList(text: string, field: Field): boolean {
  return text.split(',').every((range) => isRange(range, field))
}

/** `*`, `?`, `n`, `a-b`, each perhaps with `/step`. */
function isRange(text: string, field: Field): boolean {
  const [bounds = '', step, ...more] = text.split('/')
  if (more.length > 0 || (step !== undefined && !(numberOf(step) > 0))) return false
  if (bounds === '*' || bounds === '?') return true
  const ends = bounds.split('-').map((end) => valueOf(end, field))
  const [first = Number.NaN, last = first] = ends
  return ends.length <= 2 && first >= field.least && last <= field.most && first <= last
}

function valueOf(text: string, { least, names }: Field): number {
  const named = names?.indexOf(text.toLowerCase()) ?? -1
  return named === -1 ? numberOf(text) : named + least
}

function numberOf(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
}
