/**
 * One import from beginning to end, in named phases (docs/design/0001-data-mover.md): connect, inspect, plan, transfer,
 * resize, finish. Pods and the command line both run this. It either resolves with a complete, verified, fsynced target
 * or throws a CdiError whose message starts with the step that failed, and then leaves no partial file.
 */
import type { Readable } from 'node:stream'
import { CdiError, prefixError, toCdiError } from '../src/errors.ts'
import type { Log } from '../src/log.ts'
import { safeUrl } from '../src/log.ts'
import { usableBytes } from '../src/quantity.ts'
import { assertFits } from './image/inspect.ts'
import type { Journal, SourceVersion } from './journal.ts'
import { openSource } from './open-source.ts'
import type { Route } from './plan.ts'
import type { Progress } from './progress.ts'
import type { ImportRequest } from './request.ts'
import { copyRanges } from './routes/copy-ranges.ts'
import { copyStream } from './routes/copy-stream.ts'
import { createBlank } from './routes/create-blank.ts'
import { growFile } from './routes/resize.ts'
import { discardDirectory, unpackArchive } from './routes/unpack-archive.ts'
import { Digest } from './sources/checksum.ts'
import { counted } from './sources/progress.ts'
import type { Source } from './sources/source.ts'
import { surveySource, vhdFooterBytes } from './survey.ts'
import type { Survey } from './survey.ts'
import { openTarget } from './target/open-target.ts'
import type { Target } from './target/target.ts'

const step = {
  // Clients look for this text although there is no scratch space (contract: import §11).
  image: 'Unable to process data: Unable to transfer source data to scratch space',
  inspect: 'Unable to process data: Unable to obtain information about data source',
  directory: 'Unable to process data: Unable to transfer source data to target directory',
  file: 'Unable to process data: Unable to transfer source data to target file',
  convert: 'Unable to process data: Unable to convert source data to target format',
  resize: 'Unable to process data: Unable to resize disk image to requested size',
  blank: 'Unable to create blank image',
} as const
/** Routes from a disk format to a raw disk. */
const converting: ReadonlySet<Route> = new Set([
  'copyExtents',
  'convertRanges',
  'convertStream',
  'convertStaged',
] as const)

export interface ImportDeps {
  readonly log: Log
  readonly progress: Progress
  readonly journal: Journal
  /** Of the source `stdin`. */
  readonly stdin?: Readable
  /**
   * Told when every byte of the source was taken and nothing is left that the source could be blamed for: what follows is
   * conversion from scratch, growing, and fsync.
   */
  readonly onReceived?: () => void
}

export interface ImportResult {
  readonly route: Route | 'createBlank'
  readonly why: string
  readonly format?: string
  readonly encodings: readonly string[]
  /** Size of the disk in the target, in bytes; absent for archives. */
  readonly diskSizeBytes?: number
  /** Every byte of the target is backed by storage because it was asked for. */
  readonly preallocationApplied: boolean
  /** What the source wants to be written on the volume's claim. */
  readonly labels?: Readonly<Record<string, string>>
}

/** Runs one import. Throws CdiError. */
export async function runImport(deps: ImportDeps, request: ImportRequest, signal: AbortSignal): Promise<ImportResult> {
  if (request.source.type === 'blank') return runBlank(deps, request, signal)
  const { log, progress, journal } = deps
  const { source: wanted } = request
  const isContainer = wanted.type === 'registry' || wanted.type === 'containerDisk'
  if (isContainer && request.contentType === 'archive') {
    throw new CdiError('CDI_USAGE', 'ContentType must be kubevirt when Source is Registry')
  }
  progress.enter('connect')
  const memory = new FaultMemory({ journal, request, log })
  try {
    await using source = await inStep(connectStep(request), () =>
      openSource({ request: wanted, stdin: deps.stdin, log, onVersion: memory.check }, signal),
    )
    warnAboutContentType({ source, request, log })
    await memory.check(versionOf(source))
    const result = await importFrom({ deps, request, source, signal })
    await memory.forget()
    return source.labels === undefined ? result : { ...result, labels: source.labels }
  } catch (thrown) {
    throw await memory.keep(toCdiError(thrown))
  }
}

function versionOf({ name, validator, sizeBytes }: Source): SourceVersion {
  return {
    name,
    ...(validator === undefined ? {} : { validator }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  }
}

/** Spares a source that is known to fail for a reason that lasts: each attempt costs one look at its version. */
class FaultMemory {
  readonly #journal: Journal
  readonly #requestKey: string
  readonly #log: Log
  #version: SourceVersion | undefined
  #known: CdiError | undefined

  constructor({ journal, request, log }: { journal: Journal; request: ImportRequest; log: Log }) {
    this.#journal = journal
    this.#log = log
    const { contentType, requestedBytes, format, scratchDirectory } = request
    this.#requestKey = JSON.stringify([contentType, requestedBytes, format, scratchDirectory])
  }

  /** Throws the fault that this version has failed with before. */
  readonly check = async (version: SourceVersion): Promise<void> => {
    this.#version = version
    this.#known = await this.#journal.recall(version, this.#requestKey)
    if (this.#known === undefined) return
    const { code } = this.#known
    this.#log.warn({ code }, 'the source is unchanged since it failed for a reason that lasts; not read again')
    throw this.#known
  }

  /** Remembers a fault of the version that was seen last; resolves with the one to show. */
  async keep(error: CdiError): Promise<CdiError> {
    // What was remembered has its steps in front already.
    if (this.#known !== undefined) return this.#known
    const version = this.#version
    if (version !== undefined) await this.#note(() => this.#journal.remember(version, this.#requestKey, error))
    return error
  }

  /** The import is done. */
  async forget(): Promise<void> {
    await this.#note(() => this.#journal.forget())
  }

  /** The journal only spares work: an import neither fails by it nor hides its fault behind it. */
  async #note(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (err) {
      this.#log.warn({ err }, 'the journal cannot be written')
    }
  }
}

async function runBlank(
  { log, progress }: ImportDeps,
  request: ImportRequest,
  signal: AbortSignal,
): Promise<ImportResult> {
  if (request.contentType === 'archive') {
    throw new CdiError('CDI_USAGE', 'Cannot create empty disk with content type archive')
  }
  progress.enter('blank')
  await using target = await inStep(step.blank, () => openRequestedTarget({ request, log }))
  await orDiscard(target, () =>
    inStep(step.blank, async () => {
      const diskSizeBytes = usableFor(request, target)
      await createBlank({ target, diskSizeBytes, signal, log })
      await target.finish(signal)
    }),
  )
  return {
    route: 'createBlank',
    why: 'no source',
    encodings: [],
    diskSizeBytes: usableFor(request, target),
    preallocationApplied: request.preallocate,
  }
}

interface ImportFrom {
  readonly deps: ImportDeps
  readonly request: ImportRequest
  readonly source: Source
  readonly signal: AbortSignal
}

async function importFrom({ deps, request, source, signal }: ImportFrom): Promise<ImportResult> {
  const { log, progress } = deps
  progress.enter('inspect')
  const survey = await inStep(step.inspect, () =>
    surveySource({
      source,
      contentType: request.contentType,
      checksum: request.checksum !== undefined,
      signal,
      ...(request.format === undefined ? {} : { format: request.format }),
    }),
  )
  const { plan } = survey
  log.info(
    {
      route: plan.route,
      why: plan.why,
      format: survey.format,
      encodings: survey.encodings,
      virtualSizeBytes: survey.virtualSizeBytes,
    },
    'import planned',
  )
  progress.enter('transfer', source.sizeBytes)
  if (plan.route === 'unpackArchive') return unpack({ deps, request, source, survey, signal })

  if (plan.needsScratch && request.scratchDirectory === undefined) {
    throw new CdiError('CDI_SCRATCH_REQUIRED', 'scratch space required and none found')
  }
  // What was asked for is known before the target is touched: a file of that name survives the refusal.
  await inStep(step.convert, () => assertWithin(survey, requestedLimit(request)))
  await using target = await inStep(step.file, () => openRequestedTarget({ request, log }))
  // Awaited here: the target must not be closed before.
  return await orDiscard(target, async () => {
    await inStep(step.convert, () => assertWithin(survey, target.capacityBytes))
    const digest = request.checksum && new Digest(request.checksum)
    const diskSizeBytes = await inStep(transferStep(plan.route), async () => {
      const { onReceived } = deps
      const moved = await move({ request, source, survey, target, digest, progress, signal, log, onReceived })
      digest?.verify()
      return moved
    })
    deps.onReceived?.()
    progress.enter('resize')
    const finalSizeBytes = await inStep(step.resize, () =>
      request.resize && target.kind === 'file'
        ? growFile({ target, diskSizeBytes, wantedBytes: usableFor(request, target), signal })
        : Promise.resolve(diskSizeBytes),
    )
    progress.enter('finish')
    await inStep(step.file, () => target.finish(signal))
    return {
      route: plan.route,
      why: plan.why,
      format: survey.format,
      encodings: survey.encodings,
      diskSizeBytes: finalSizeBytes,
      preallocationApplied: request.preallocate,
    }
  })
}

interface Move {
  readonly request: ImportRequest
  readonly source: Source
  readonly survey: Survey
  readonly target: Target
  readonly digest: Digest | undefined
  readonly progress: Progress
  readonly signal: AbortSignal
  readonly log: Log
  readonly onReceived: (() => void) | undefined
}

/**
 * Runs the planned route; resolves with the size of the disk in the target, in bytes. Routes that run qemu-img are loaded
 * when they are taken: what runs programs costs 80 ms and 16 MB.
 */
async function move({
  request,
  source,
  survey,
  target,
  digest,
  progress,
  signal,
  log,
  onReceived,
}: Move): Promise<number> {
  const { route } = survey.plan
  const common = { target, signal, log, ...(digest ? { digest } : {}) }
  switch (route) {
    case 'copyRanges': {
      const diskSizeBytes = known(survey.virtualSizeBytes)
      await copyRanges({ ...common, source: ranged(source), diskSizeBytes, onBytes: progress.bytes })
      return diskSizeBytes
    }
    case 'copyStream':
      return copyStream({
        ...common,
        source,
        encodings: survey.encodings,
        maxBytes: Math.min(target.capacityBytes, requestedLimit(request)),
        onBytes: progress.bytes,
        ...(survey.virtualSizeBytes === undefined ? {} : { expectedSizeBytes: survey.virtualSizeBytes }),
      })
    case 'copyExtents': {
      const facts = known(survey.facts)
      const { copyExtents } = await import('./routes/copy-extents.ts')
      await copyExtents({ source: counted(ranged(source), progress.bytes), facts, target, signal, log })
      return facts.virtualSizeBytes
    }
    case 'convertRanges': {
      const facts = known(survey.facts)
      const { convertRanges } = await import('./routes/convert-ranges.ts')
      await convertRanges({
        ...common,
        // On a slow link what has arrived tells more than qemu-img, whose steps are coarse.
        source: counted(ranged(source), progress.bytes),
        format: facts.format,
        facts,
        directIo: request.directIo,
        onProgress: progress.percent,
      })
      return facts.virtualSizeBytes
    }
    case 'convertStream': {
      const facts = known(survey.facts)
      const { scratchDirectory } = request
      const { convertStream } = await import('./routes/convert-stream.ts')
      await convertStream({
        ...common,
        source,
        encodings: survey.encodings,
        facts,
        onBytes: progress.bytes,
        ...(scratchDirectory === undefined ? {} : { scratchDirectory }),
      })
      return facts.virtualSizeBytes
    }
    case 'convertStaged': {
      const { convertStaged } = await import('./routes/convert-staged.ts')
      return convertStaged({
        ...common,
        source,
        encodings: survey.encodings,
        format: imageFormat(survey),
        scratchDirectory: known(request.scratchDirectory),
        directIo: request.directIo,
        progress,
        // A digest is looked at only afterwards.
        ...(onReceived === undefined || digest !== undefined ? {} : { onReceived }),
      })
    }
    case 'unpackArchive':
      throw new CdiError('CDI_INTERNAL', 'archives have no disk target')
    default:
      return route satisfies never
  }
}

async function unpack({
  deps,
  request,
  source,
  survey,
  signal,
}: ImportFrom & { survey: Survey }): Promise<ImportResult> {
  const { log, progress } = deps
  const digest = request.checksum && new Digest(request.checksum)
  const directory = request.targetPath
  await inStep(step.directory, async () => {
    await unpackArchive({
      source,
      encodings: survey.encodings,
      directory,
      requireEmpty: request.requireEmptyDirectory ?? false,
      signal,
      log,
      onBytes: progress.bytes,
      ...(digest ? { digest } : {}),
    })
    try {
      digest?.verify()
    } catch (error) {
      // The mismatch is the news, even if what was unpacked cannot be removed.
      await discardDirectory(directory).catch((err: unknown) =>
        log.error({ err }, 'unpacked files could not be removed'),
      )
      throw error
    }
  })
  return { route: survey.plan.route, why: survey.plan.why, encodings: survey.encodings, preallocationApplied: false }
}

function openRequestedTarget({ request, log }: { request: ImportRequest; log: Log }): Promise<Target> {
  return openTarget({
    path: request.targetPath,
    preallocate: request.preallocate,
    log,
    ...(request.requestedBytes === undefined ? {} : { capacityBytes: request.requestedBytes }),
  })
}

/** The most that a disk may have which is grown to what was asked for; a device takes what fits. */
function requestedLimit({ resize, requestedBytes }: ImportRequest): number {
  return (resize ? requestedBytes : undefined) ?? Number.POSITIVE_INFINITY
}

function assertWithin({ virtualSizeBytes, plainSizeBytes, plan }: Survey, availableBytes: number): void {
  const sizeBytes = virtualSizeBytes ?? plainSizeBytes
  // The footer of a fixed VHD, which is no part of the disk, is seen by this route when it has the end before it.
  const footerBytes = plan.route === 'copyStream' ? vhdFooterBytes : 0
  if (sizeBytes !== undefined && sizeBytes - footerBytes > availableBytes) {
    assertFits({ virtualSizeBytes: sizeBytes, availableBytes })
  }
}

/** What a disk in this target is grown to (contract: import §4): min(usable(overhead, available), requested). */
export function usableFor(
  request: Pick<ImportRequest, 'requestedBytes' | 'filesystemOverhead'>,
  target: Target,
): number {
  const requested = request.requestedBytes ?? target.capacityBytes
  if (target.kind === 'block' || request.filesystemOverhead === undefined) {
    return Math.min(target.capacityBytes, requested)
  }
  return Math.min(usableBytes(request.filesystemOverhead, target.capacityBytes), requested)
}

async function orDiscard<T>(target: Target, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await target.discard()
    throw error
  }
}

async function inStep<T>(prefix: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw prefixError(prefix, error)
  }
}

function connectStep({ source: { type } }: ImportRequest): string {
  switch (type) {
    case 'http':
    case 's3':
    case 'gcs':
      return `Unable to connect to ${type} data source`
    case 'registry':
    case 'containerDisk':
      return step.image
    case 'blank':
    case 'file':
    case 'stdin':
    case 'upload':
      return `Unable to open ${type} data source`
    default:
      return type satisfies never
  }
}

function transferStep(route: Route): string {
  return converting.has(route) ? step.convert : step.file
}

function warnAboutContentType({ source, request, log }: { source: Source; request: ImportRequest; log: Log }): void {
  const type = source.contentType?.split(';')[0]?.trim()
  if (request.contentType === 'kubevirt' && type?.startsWith('text/')) {
    const name = request.source.type === 'http' ? safeUrl(request.source.url) : source.name
    log.warn({ source: name }, `Unexpected content type '${type}'. Content might not be a KubeVirt image.`)
  }
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new CdiError('CDI_INTERNAL', 'the plan promised a fact that the survey did not find')
  return value
}

function ranged(source: Source): Extract<Source, { kind: 'ranged' }> {
  if (source.kind !== 'ranged') throw new CdiError('CDI_INTERNAL', 'the plan took a forward source for a ranged one')
  return source
}

function imageFormat({ format }: Survey): Exclude<Survey['format'], 'raw'> {
  if (format === 'raw') throw new CdiError('CDI_INTERNAL', 'the plan wanted to convert a raw disk')
  return format
}
