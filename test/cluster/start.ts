/** `npm start`: cluster, service, and a DataVolume that imports a real disk over http, watched until it is done. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { startWeb } from '../e2e/support/web.ts'
import { buildGuest } from '../fixtures/guest.ts'
import { clusterUnderTest, givenCluster, type ClusterUnderTest } from './cluster-under-test.ts'
import { explain } from './explain.ts'
import { installCdi } from './install-cdi.ts'
import type { AnyObject, Kubectl } from './kubectl.ts'
import { hostAddress, kubeconfigPath } from './layout.ts'
import { runPod } from './run-pod.ts'
import { say } from './say.ts'
import { up } from './up.ts'

const name = 'debian'
const namespace = 'default'

async function start(): Promise<void> {
  const { values } = parseArgs({ options: { context: { type: 'string' } } })
  if (values.context !== undefined) process.env['CDI_TEST_CONTEXT'] = values.context
  const given = await givenCluster()
  if (given === undefined) await up()
  const cluster = given ?? (await clusterUnderTest())
  await installCdi(cluster)
  const address = process.env['CDI_TEST_HOST'] ?? (cluster.embedded ? hostAddress : undefined)
  if (address !== undefined) await showImport(cluster, address)
  tellWhatNext(cluster, address !== undefined)
}

/** The demonstration; what an earlier start imported is shown again and not imported again. */
async function showImport(cluster: ClusterUnderTest, address: string): Promise<void> {
  const { kubectl } = cluster
  const before = await kubectl.get('datavolume', name, namespace)
  if (before?.status?.phase === 'Succeeded') {
    say(`DataVolume ${name} was imported before (kubectl delete dv ${name}, then npm start, imports it again)`)
    await printResult(kubectl)
    return
  }
  say('a Debian disk to import (built once, a minute)')
  const { diskFile } = await buildGuest()
  const { size } = await stat(diskFile)
  await using web = await startWeb({ hostAddress: address }, { root: dirname(diskFile) })
  const url = web.url('disk.qcow2')
  if (before !== undefined) await kubectl.delete('datavolume', name, namespace)
  const startedMs = performance.now()
  say(`DataVolume ${name} ← ${url} (qcow2, ${Math.round(size / 1024 / 1024)} MiB)`)
  await kubectl.create(dataVolume(url))
  await watch(kubectl, startedMs)
  await printResult(kubectl)
  await compare(cluster, diskFile)
}

function dataVolume(url: string): object {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: {
      name,
      namespace,
      // So that it is imported at once, whether or not the class waits for a first consumer.
      annotations: { 'cdi.kubevirt.io/storage.bind.immediate.requested': 'true' },
    },
    spec: { source: { http: { url } }, storage: { resources: { requests: { storage: '1Gi' } } } },
  }
}

/** One line for each change until it succeeded; an error if it failed or a quarter of an hour passed. */
async function watch(kubectl: Kubectl, startedMs: number): Promise<void> {
  let shown = ''
  for (;;) {
    const { phase = 'Pending', progress = 'N/A' } = ((await kubectl.get('datavolume', name, namespace))?.status ??
      {}) as { phase?: string; progress?: string }
    const elapsedMs = performance.now() - startedMs
    const line = `${phase.padEnd(24)} ${progress.padStart(7)}`
    if (line !== shown) process.stderr.write(`    ${(elapsedMs / 1000).toFixed(1).padStart(5)} s  ${line}\n`)
    shown = line
    if (phase === 'Succeeded') return
    if (phase === 'Failed' || elapsedMs > 900_000) {
      throw new Error(
        `the import did not succeed:\n${await kubectl.run(['describe', 'datavolume', name, '-n', namespace])}`,
      )
    }
    await sleep(250)
  }
}

async function printResult(kubectl: Kubectl): Promise<void> {
  console.log(await kubectl.run(['get', 'datavolumes,persistentvolumeclaims', '-n', namespace]))
}

/** Proves that the volume holds the source's disk, byte for byte. */
async function compare(cluster: ClusterUnderTest, diskFile: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'cdi-start-'))
  try {
    const raw = join(dir, 'disk.raw')
    await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', diskFile, raw])
    const { size } = await stat(raw)
    const hash = createHash('sha256')
    await pipeline(createReadStream(raw, { highWaterMark: 1024 * 1024 }), hash)
    const source = hash.digest('hex')
    const claim: AnyObject = await cluster.kubectl.get('pvc', name, namespace)
    const mode = claim.spec.volumeMode as 'Filesystem' | 'Block'
    const volume = { claim: name, at: mode === 'Block' ? '/dev/disk' : '/data', mode }
    const disk = mode === 'Block' ? '/dev/disk' : '/data/disk.img'
    const script = `head -c ${size} ${disk} | sha256sum | cut -d" " -f1`
    const found = await runPod({ cluster, namespace, name: `${name}-check`, script, volumes: [volume] })
    console.log(`\nsha256 of the source's disk  ${source}\nsha256 of the volume         ${found}`)
    if (found !== source) throw new Error('the volume does not hold what the source holds')
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

function tellWhatNext(cluster: ClusterUnderTest, shown: boolean): void {
  const context = process.env['CDI_TEST_CONTEXT']
  const kubectl = `kubectl${context === undefined ? '' : ` --context ${context}`}`
  const lines = [
    '',
    'What to try next:',
    ...(cluster.embedded ? [`  export KUBECONFIG=${kubeconfigPath()}`] : []),
    ...(shown ? [`  ${kubectl} describe dv ${name}`] : []),
    `  ${kubectl} explain datavolume.spec.source.http`,
    `  ${kubectl} get dv -A -w                      # while you apply a DataVolume of your own (README.md)`,
    '  npx cdi inspect IMAGE-URL                   # how an image would be imported, without a cluster',
    ...(cluster.embedded ? ['  npm stop                                    # takes it all away'] : []),
  ]
  console.log(lines.join('\n'))
}

await explain(start)
