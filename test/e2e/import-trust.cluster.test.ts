/** Servers that want to be convinced, and bytes that have to prove themselves. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe } from 'node:test'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { makeCerts } from '../fixtures/certs.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { scenario } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage(async ({ cluster, directory, serve }) => {
  const dir = dirname(directory)
  const certs = await makeCerts({ dir, subjectAltName: `IP:${cluster.hostAddress},IP:127.0.0.1` })
  const guarded = await serve({ basicAuth: { user: 'reader', password: 'pass word, with blanks' } })
  return { certs, guarded, secure: await serve({ certs }) }
})

function disk(url: string, more: Parameters<DataVolumeBuilder['http']>[1] = {}): DataVolumeBuilder {
  return dataVolume('dv').http(url, more).storage('64Mi').on(classes.immediate).mode('Filesystem')
}

async function digestOf(file: string, algorithm: string): Promise<string> {
  return createHash(algorithm)
    .update(await readFile(join(stage().directory, file)))
    .digest('hex')
}

describe('a server with basic authentication', { concurrency: 2 }, () => {
  scenario(
    'is read with the user and password of the Secret',
    () => stage().cluster,
    async (scene) => {
      await scene.secret('login', { accessKeyId: 'reader', secretKey: 'pass word, with blanks' })
      await scene.apply(disk(stage().guarded.url(imageFiles.qcow2), { secretRef: 'login' }))
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )

  scenario(
    'is not read with a wrong password, and the DataVolume says so',
    () => stage().cluster,
    async (scene) => {
      await scene.secret('login', { accessKeyId: 'reader', secretKey: 'guess' })
      await scene.apply(disk(stage().guarded.url(imageFiles.qcow2), { secretRef: 'login' }))
      await scene.shows('dv', /^Running=False Error: .*expected status code 200, got 401/)
    },
  )

  scenario(
    'waits for a Secret that is not there yet',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().guarded.url(imageFiles.qcow2), { secretRef: 'login' }))
      await scene.shows('dv', /^Running=False CreateContainerConfigError: secret "login" not found$/)
      await scene.tells('DataVolume/dv', /^Warning CreateContainerConfigError: secret "login" not found$/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'ImportScheduled')
      await scene.secret('login', { accessKeyId: 'reader', secretKey: 'pass word, with blanks' })
      await scene.succeeds('dv')
    },
  )
})

describe('a server with a certificate of its own authority', { concurrency: 2 }, () => {
  scenario(
    'is trusted by the ConfigMap, whatever its key is called',
    () => stage().cluster,
    async (scene) => {
      await scene.configMap('ca', { 'whatever.you-like': stage().certs.caPem })
      await scene.apply(disk(stage().secure.url(imageFiles.rawXz), { certConfigMap: 'ca' }))
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )

  scenario(
    'is not trusted without it',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().secure.url(imageFiles.qcow2)))
      await scene.shows('dv', /^Running=False Error: Unable to connect to http data source: HTTP request errored: /)
    },
  )

  scenario(
    'is not asked for its certificate with insecureSkipVerify',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().secure.url(imageFiles.qcow2), { insecureSkipVerify: true }))
      await scene.succeeds('dv')
    },
  )

  scenario(
    'waits, without an event, for a ConfigMap that is not there yet',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().secure.url(imageFiles.qcow2), { certConfigMap: 'ca' }))
      await scene.shows('dv', /^Running=False ContainerCreating: $/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'ImportScheduled')
      await scene.configMap('ca', { 'ca.pem': stage().certs.caPem })
      await scene.succeeds('dv')
      assert.deepEqual(
        scene.seen.eventsOf('DataVolume', 'dv').filter((event) => event.includes('ContainerCreating')),
        [],
      )
    },
  )
})

describe('header lines', () => {
  scenario(
    'from the manifest and from Secrets reach the server',
    () => stage().cluster,
    async (scene) => {
      const { web } = stage()
      await scene.secret('headers', { one: 'X-Extra: from a secret' })
      await scene.apply(
        disk(web.url(imageFiles.rawGz), { extraHeaders: ['X-Other: plain'], secretExtraHeaders: ['headers'] }),
      )
      await scene.succeeds('dv')
      const requests = await web.requests(imageFiles.rawGz)
      assert.ok(requests.length > 0)
      for (const { extra } of requests) assert.equal(extra, 'from a secret')
    },
  )
})

describe('a checksum', { concurrency: 2 }, () => {
  scenario(
    'that is right lets the import pass',
    () => stage().cluster,
    async (scene) => {
      const { web } = stage()
      const checksum = `sha512:${await digestOf(imageFiles.qcow2, 'sha512')}`
      await scene.apply(disk(web.url(imageFiles.qcow2), { checksum }))
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )

  scenario(
    'that is wrong fails the DataVolume for good',
    () => stage().cluster,
    async (scene) => {
      const { web } = stage()
      const wrong = `sha256:${'0'.repeat(64)}`
      const calculated = `sha256:${await digestOf(imageFiles.rawXz, 'sha256')}`
      await scene.apply(disk(web.url(imageFiles.rawXz), { checksum: wrong }))
      await scene.reaches('dv', 'Failed')
      const text = `checksum validation failed: checksum mismatch: expected ${wrong}, calculated ${calculated}`
      await scene.shows('dv', new RegExp(`^Running=False ChecksumError: Unable to process data: .*${text}$`))
      await scene.tells('DataVolume/dv', /^Warning ImportFailed: Failed to import into PVC dv$/)
      await scene.tells('DataVolume/dv', new RegExp(`^Warning ChecksumError: .*${text}$`))
      const prime = scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime']
      assert.ok(prime)
      await scene.until('the worker to be gone', () => scene.seen.importerPods(prime).every(({ gone }) => gone))
      assert.equal(scene.seen.importerPods(prime).length, 1, 'a worker was started again')
      const annotations = scene.pvc('dv')?.metadata.annotations ?? {}
      assert.equal(annotations['cdi.kubevirt.io/storage.pod.phase'], 'Failed')
      assert.equal(annotations['cdi.kubevirt.io/storage.import.fatalError'], 'true')
    },
  )
})
