/**
 * Opens what a request names. A new kind of source is one line here and one file in sources/, which is loaded when it is
 * asked for: what speaks to stores costs time and memory.
 */
import type { Readable } from 'node:stream'
import { CdiError } from '../src/errors.ts'
import type { Log } from '../src/log.ts'
import type { SourceVersion } from './journal.ts'
import type { SourceRequest } from './request.ts'
import { openFile } from './sources/file.ts'
import { openHttp } from './sources/http.ts'
import type { Source } from './sources/source.ts'
import { openStream } from './sources/stdin.ts'

export interface OpenSource {
  readonly request: SourceRequest
  /** Of the source `stdin`. */
  readonly stdin?: Readable | undefined
  readonly log: Log
  /**
   * Told of the source's version by those that know it before they have found the data, so that looking for it can be
   * spared: what it throws ends opening. All others tell it as facts of the source.
   */
  readonly onVersion?: (version: SourceVersion) => Promise<void>
}

/** Resolves with a connected source; throws the source's CdiError. */
export async function openSource({ request, stdin, log, onVersion }: OpenSource, signal: AbortSignal): Promise<Source> {
  switch (request.type) {
    case 'http':
      return openHttp({ ...request, log }, signal)
    case 's3': {
      const { openS3 } = await import('./sources/s3.ts')
      return openS3({ request, log }, signal)
    }
    case 'containerDisk': {
      const { openContainerDisk } = await import('./sources/container-disk.ts')
      return openContainerDisk({ request, log }, signal)
    }
    case 'registry': {
      const { openRegistry } = await import('./sources/registry.ts')
      return openRegistry({ request, log, ...(onVersion === undefined ? {} : { onVersion }) }, signal)
    }
    case 'gcs': {
      const { openGcs } = await import('./sources/gcs.ts')
      return openGcs({ request, log }, signal)
    }
    case 'file':
      return openFile({ path: request.path })
    case 'stdin':
      if (stdin === undefined) throw new CdiError('CDI_INTERNAL', 'there is no standard input')
      return openStream({ stream: stdin, name: 'standard input' })
    case 'upload':
      return request.source
    case 'blank':
      throw new CdiError('CDI_INTERNAL', 'a blank disk has no source')
    default:
      return request satisfies never
  }
}
