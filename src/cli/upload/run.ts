/**
 * One `cdi upload` from beginning to end: look at the file, find the proxy, make the volume, wait for its server, send,
 * wait until the volume is finished. Whatever can be refused is refused before anything is made.
 */
import { basename } from 'node:path'
import type { Readable } from 'node:stream'
import { formatBytes } from '../../../importer/cli/units.ts'
import type { ProxySettings } from '../../../importer/sources/proxy.ts'
import { CdiError } from '../../errors.ts'
import type { ConnectedClient } from '../../kube/client.ts'
import type { Clock } from '../../kube/clock.ts'
import type { Log } from '../../log.ts'
import { Cluster } from './cluster.ts'
import { UploadConnection } from './connection.ts'
import { reprDigest } from './digest-header.ts'
import { describeImage, inspectLocal } from './local-image.ts'
import type { LocalImage } from './local-image.ts'
import type { UploadInput } from './options.ts'
import { Patience } from './patience.ts'
import { findProxy } from './proxy-address.ts'
import { RangesTransfer } from './ranges-client.ts'
import type { UploadReporter } from './report.ts'
import { assertFits, decideSize } from './size.ts'
import { StateFile } from './state-file.ts'
import type { UploadState } from './state-file.ts'
import { UploadTokens } from './token.ts'
import type { Transfer, TransferEvents } from './transfer.ts'
import { Trouble } from './trouble.ts'
import { TusTransfer } from './tus-client.ts'
import { FileBytes, StreamBytes } from './upload-bytes.ts'
import { capacityOf, describeVolume, restartsOf } from './volume.ts'

export interface UploadDeps {
  readonly client: ConnectedClient
  readonly clock: Clock
  readonly log: Log
  readonly reporter: UploadReporter
  readonly stdin: Readable
  /** Proxies between here and the upload proxy. */
  readonly httpProxy: ProxySettings
  /** Where addresses of uploads are kept. */
  readonly stateDirectory: string
  /** Without a byte for so long an upload is given up. */
  readonly budgetMs?: number
}

/** Resolves when the volume is finished. Throws CdiErrors and what the Kubernetes client throws. */
export async function runUpload(d: UploadDeps, input: UploadInput, signal: AbortSignal): Promise<void> {
  const { client, clock, log, reporter } = d
  const image =
    input.file === '-' ? undefined : await inspectLocal({ path: input.file, archive: input.archive }, signal)
  if (image !== undefined) reporter.say(`${image.path}: ${imageText(image)}`)
  if (image?.isTar === true && !input.archive) {
    reporter.say('This looks like a tar file and will be the disk as it is; --archive would unpack it into the volume.')
  }
  const target = { ...input.target, namespace: input.namespace ?? client.namespace ?? 'default' }
  const cluster = new Cluster({ client, clock, log, target, say: (text) => reporter.say(text) })
  const { url, trust } = await findProxy(input, await cluster.config(signal))
  const token = new UploadTokens({ client, clock, namespace: target.namespace, pvcName: target.name })
  // Who may not upload is told so before a volume is made.
  await token.get(signal)

  const { volume, isNew } = await cluster.ensure(
    {
      archive: input.archive,
      newVolume: () => ({ ...input, ...target, diskBytes: decideSize({ askedBytes: input.sizeBytes, image }) }),
    },
    signal,
  )
  const capacityBytes = capacityOf(volume)
  reporter.say(
    `${describeVolume(target)} ${isNew ? 'created' : 'exists'}${capacityBytes === undefined ? '' : `, ${formatBytes(capacityBytes)}`}`,
  )
  if (!isNew) {
    if (image !== undefined && capacityBytes !== undefined) {
      assertFits({ image, capacityBytes, whose: `the ${formatBytes(capacityBytes)} of ${describeVolume(target)}` })
    }
    if (input.sizeBytes !== undefined && input.sizeBytes !== capacityBytes) {
      reporter.say('--size means nothing for a volume that exists already.')
    }
  }
  await cluster.untilReady(input, signal)

  await using connection = new UploadConnection({ url, token, trust, proxy: d.httpProxy })
  const trouble = new Trouble({
    clock,
    token,
    patience: new Patience({ clock, ...(d.budgetMs === undefined ? {} : { budgetMs: d.budgetMs }) }),
    isFinished: (signal) => cluster.isFinished(signal),
    onTrouble: (text, waitMs) => {
      log.debug({ text, waitMs }, 'trouble')
      reporter.trouble(text, waitMs)
    },
  })
  await using bytes = image === undefined ? new StreamBytes(d.stdin) : await FileBytes.open(image.path, image.sizeBytes)
  const state = image && (await stateOf({ d, cluster, target, image }, signal))
  const protocol = image?.isPlainDisk === true && bytes instanceof FileBytes ? 'ranges' : 'tus'
  const before = await state?.read()
  const events = eventsOf({ reporter, protocol, state, bytes })
  if (before?.protocol === protocol) reporter.say('Going on with the upload that was begun before.')
  if (image === undefined)
    reporter.say('Standard input is sent as it comes; if this command ends, the upload begins anew.')
  const common = {
    exchange: connection,
    clock,
    trouble,
    events,
    ...(before?.protocol === protocol ? { address: before.address } : {}),
  }
  const transfer: Transfer =
    protocol === 'ranges' && bytes instanceof FileBytes
      ? new RangesTransfer({ ...common, bytes, parallel: input.parallel, headers: reprDigest(input.checksum) })
      : new TusTransfer({ ...common, bytes, headers: { ...metadata(input.file), ...reprDigest(input.checksum) } })

  reporter.say(`Uploading to ${url.origin}`)
  const startedMs = clock.monotonicMs()
  try {
    await untilFinished({ transfer, cluster, reporter, bytes, trouble }, signal)
  } catch (error) {
    reporter.pause()
    if (signal.aborted && image !== undefined) {
      reporter.say('The server keeps what it has: run the same command again to go on.')
    } else if (error instanceof CdiError && error.kind === 'terminal') {
      // What the server has refused it does not keep.
      await state?.remove()
    }
    throw error
  }
  await state?.remove()
  reporter.done({
    namespace: target.namespace,
    name: target.name,
    sizeBytes: bytes.sizeBytes ?? 0,
    sentBytes: connection.sentBytes,
    seconds: (clock.monotonicMs() - startedMs) / 1000,
  })
}

/** Sends, and looks on until the volume is finished; sends again what a restarted server turns out to lack. */
async function untilFinished(
  o: {
    transfer: Transfer
    cluster: Cluster
    reporter: UploadReporter
    bytes: FileBytes | StreamBytes
    trouble: Trouble
  },
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await o.transfer.send(signal)
    o.reporter.pause()
    if (o.trouble.isFinished) return
    o.reporter.say('All bytes are there; waiting until the volume is finished.')
    const volume = await o.cluster.get(signal)
    const stop = new AbortController()
    const either = AbortSignal.any([signal, stop.signal])
    try {
      const restarts = volume === undefined ? 0 : restartsOf(volume)
      const end = o.cluster.untilEnd(restarts, either)
      const lost = o.transfer.untilLost(either).then(() => 'lost' as const)
      // Who comes second is stopped, which is no fault.
      for (const each of [end, lost]) each.catch(() => {})
      const first = await Promise.race([end, lost])
      if (first === 'finished') return
      o.reporter.say(first === 'restarted' ? 'The upload server was restarted.' : 'The upload server lacks bytes.')
    } finally {
      stop.abort()
    }
  }
}

function eventsOf(o: {
  reporter: UploadReporter
  protocol: UploadState['protocol']
  state: StateFile | undefined
  bytes: FileBytes | StreamBytes
}): TransferEvents {
  return {
    async onAddress(address) {
      try {
        await o.state?.write({ protocol: o.protocol, address })
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        o.reporter.say(`The address of this upload cannot be kept (${text}): another run will begin anew.`)
      }
    },
    onProgress: (doneBytes) => o.reporter.progress(doneBytes, o.bytes.sizeBytes),
    onRestart: (text) => o.reporter.say(`What had arrived is lost, everything is sent again: ${text}`),
  }
}

async function stateOf(
  o: { d: UploadDeps; cluster: Cluster; target: { namespace: string; name: string }; image: LocalImage },
  signal: AbortSignal,
): Promise<StateFile | undefined> {
  const pvcUid = await o.cluster.claimUid(signal)
  if (pvcUid === undefined) return undefined
  return new StateFile(o.d.stateDirectory, {
    file: o.image.identity,
    server: o.d.client.server,
    namespace: o.target.namespace,
    pvcName: o.target.name,
    pvcUid,
  })
}

function imageText(image: LocalImage): string {
  const { virtualSizeBytes } = image
  const disk = virtualSizeBytes === undefined ? '' : `, disk of ${formatBytes(virtualSizeBytes)}`
  return `${describeImage(image)}${disk}`
}

/** The file's name, for people who look at the server's log. */
function metadata(file: string): Record<string, string> {
  return file === '-' ? {} : { 'upload-metadata': `filename ${Buffer.from(basename(file)).toString('base64')}` }
}
