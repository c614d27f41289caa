/** `cdi inspect SOURCE`: what it is and how it would be imported, without writing anything. */
import { openSource } from '../open-source.ts'
import { surveySource } from '../survey.ts'
import { inspectUsage } from './options.ts'
import { inSession } from './session.ts'
import { formatBytes } from './units.ts'

export function main(args: readonly string[]): Promise<void> {
  return inSession({ command: 'inspect', usage: inspectUsage, args }, async ({ input, log, signal }) => {
    const { request, json } = input
    await using source = await openSource({ request: request.source, stdin: process.stdin, log }, signal)
    const survey = await surveySource({
      source,
      contentType: request.contentType,
      signal,
      ...(request.format === undefined ? {} : { format: request.format }),
    })
    const shown = {
      source: source.name,
      access: source.kind === 'ranged' ? (source.pinned ? 'ranges, guarded by a validator' : 'ranges') : 'forward only',
      sizeBytes: source.sizeBytes,
      encodings: survey.encodings,
      format: request.contentType === 'archive' ? 'archive' : survey.format,
      virtualSizeBytes: survey.virtualSizeBytes,
      plainSizeBytes: survey.plainSizeBytes,
      features: survey.facts?.features ?? [],
      route: survey.plan.route,
      why: survey.plan.why,
      needsScratch: survey.plan.needsScratch,
    }
    process.stdout.write(json ? `${JSON.stringify(shown)}\n` : table(shown))
  })
}

function table(shown: Readonly<Record<string, unknown>>): string {
  const labels: Readonly<Record<string, string>> = {
    sizeBytes: 'size',
    virtualSizeBytes: 'virtual size',
    plainSizeBytes: 'unpacked size',
    needsScratch: 'scratch needed',
  }
  return Object.entries(shown)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${(labels[key] ?? key).padEnd(15)} ${cell(key, value)}\n`)
    .join('')
}

function cell(key: string, value: unknown): string {
  if (key.endsWith('Bytes') && typeof value === 'number') return `${formatBytes(value)} (${value} bytes)`
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return Array.isArray(value) ? value.join(', ') : String(value)
}
