/** Who and what is turned away: by the token API, by the webhooks, by the proxy; and what it is told. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { forgeToken } from '../fixtures/upload-tokens.ts'
import type { ForgedToken } from '../fixtures/upload-tokens.ts'
import { arrives } from './support/assert-disk.ts'
import { installNamespace } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { kubectl } from './support/kubectl.ts'
import type { KubectlOutcome } from './support/kubectl.ts'
import { portForward } from './support/port-forward.ts'
import { withProxy } from './support/proxy.ts'
import type { CurlAnswer } from './support/proxy.ts'
import { Scene, scenario } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { boundClaim, bearer, carrierOf, curlUpload, openTarget, tokenFor, uploadDisk } from './support/upload.ts'

const stage = useStage(async (common) => {
  const key = { namespace: installNamespace, name: 'cdi-api-signing-key' }
  const secret = await common.cluster.kube.get(kinds.secret, key)
  const privateKeyPem = Buffer.from(secret?.data?.['id_rsa'] ?? '', 'base64').toString()
  return { ...(await withProxy(common)), privateKeyPem }
})

function raw(): string {
  return join(stage().directory, imageFiles.raw)
}

/** A token for the claim `dv` of the scene, signed with the service's own key unless told. */
function forged(scene: Scene, changes: Partial<ForgedToken> = {}): Promise<string> {
  const { privateKeyPem } = stage()
  return forgeToken({ privateKeyPem, namespace: scene.namespace, name: 'dv', ...changes })
}

describe('the token API', { concurrency: 3 }, () => {
  /** `kubectl create` of a token for `dv` as somebody. */
  const ask = (scene: Scene, user: readonly string[], verb = 'create'): Promise<KubectlOutcome> =>
    kubectl(['-n', scene.namespace, ...user, verb, '-f', '-', '-o', 'jsonpath={.status.token}'], {
      apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
      kind: 'UploadTokenRequest',
      metadata: { name: 'token' },
      spec: { pvcName: 'dv' },
    })
  const account = async (scene: Scene, name: string, role?: string): Promise<string[]> => {
    const made = [
      ['create', 'serviceaccount', name],
      ...(role === undefined
        ? []
        : [['create', 'rolebinding', name, `--clusterrole=${role}`, `--serviceaccount=${scene.namespace}:${name}`]]),
    ]
    for (const args of made) assert.equal((await kubectl(['-n', scene.namespace, ...args])).exitCode, 0)
    return ['--as', `system:serviceaccount:${scene.namespace}:${name}`]
  }

  for (const role of ['edit', 'admin']) {
    scenario(
      `lets a service account that may ${role} the namespace make a disk and get a token`,
      () => stage().cluster,
      async (scene) => {
        const user = await account(scene, 'robot', role)
        const { metadata, ...rest } = uploadDisk().manifest(scene.namespace)
        const made = await kubectl([...user, 'create', '-f', '-'], { ...rest, metadata })
        assert.equal(made.exitCode, 0, made.stderr)
        await scene.reaches('dv', 'UploadReady')
        const { stdout, stderr } = await ask(scene, user)
        assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/, stderr)
        const { status } = await curlUpload(scene, stage().proxy, { file: raw(), token: stdout })
        assert.equal(status, 200)
        await arrives(scene, stage().images)
        for (const object of ['cdiconfig/config', 'storageprofile/csi-immediate']) {
          const refused = await kubectl([...user, 'annotate', '--overwrite', object, 'e2e=x'])
          assert.match(refused.stderr, /forbidden/i)
        }
      },
    )
  }

  scenario(
    'turns away who may not edit the namespace',
    () => stage().cluster,
    async (scene) => {
      for (const [name, role] of [['nobody', undefined] as const, ['viewer', 'view'] as const]) {
        const { exitCode, stdout, stderr } = await ask(scene, await account(scene, name, role))
        assert.notEqual(exitCode, 0)
        assert.equal(stdout, '')
        assert.match(stderr, /forbidden|unauthorized|cannot create/i)
      }
      // Rights in another namespace are none here.
      await using other = await openOther(scene)
      const neighbour = await account(other.scene, 'neighbour', 'edit')
      assert.notEqual((await ask(scene, neighbour)).exitCode, 0)
      assert.equal((await ask(other.scene, neighbour)).exitCode, 0)
    },
  )

  scenario(
    'keeps nothing: apply works as often as wanted, and there is nothing to get',
    () => stage().cluster,
    async (scene) => {
      for (const verb of ['create', 'apply', 'apply']) {
        const { stdout, stderr } = await ask(scene, [], verb)
        assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/, `${verb}: ${stderr}`)
      }
      const got = await kubectl(['-n', scene.namespace, 'get', 'uploadtokenrequests.upload.cdi.kubevirt.io', 'token'])
      assert.match(got.stderr, /NotFound|not found|could not find/i)
    },
  )

  scenario(
    'is found by its short names',
    () => stage().cluster,
    async () => {
      const { stdout } = await kubectl(['api-resources', '--api-group=upload.cdi.kubevirt.io', '--no-headers'])
      assert.match(
        stdout.trim(),
        /^uploadtokenrequests +utr,utrs +upload\.cdi\.kubevirt\.io\/v1beta1 +true +UploadTokenRequest$/,
      )
    },
  )
})

async function openOther({ cluster }: Scene): Promise<AsyncDisposable & { scene: Scene }> {
  const scene = await Scene.open(cluster)
  return { scene, [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() }
}

describe('the proxy', { concurrency: 3 }, () => {
  const post = (args: readonly string[], path = '/v1beta1/upload'): Promise<CurlAnswer> =>
    stage().proxy.curl(path, [...args, '--data-binary', 'x'])

  scenario(
    'takes no token but those that the token API hands out for the claim',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
      const foreignKey = privateKey.export({ type: 'pkcs1', format: 'pem' }) as string
      const good = await forged(scene)
      const [header = '', payload = '', signature = ''] = good.split('.')
      const none = Buffer.from('{"alg":"none"}').toString('base64url')
      const bad: Record<string, string> = {
        expired: await forged(scene, { issuedAt: new Date(Date.now() - 320_000) }),
        early: await forged(scene, { issuedAt: new Date(Date.now() + 60_000) }),
        'foreign key': await forged(scene, { privateKeyPem: foreignKey }),
        'foreign issuer': await forged(scene, { issuer: 'somebody' }),
        'foreign signature': `${header}.${payload}.${signature.slice(0, -8)}AAAAAAAA`,
        unsigned: `${none}.${payload}.`,
        garbage: 'not-a-token',
      }
      for (const [what, token] of Object.entries(bad)) {
        const { status, body } = await post(bearer(token))
        assert.deepEqual({ what, status, body }, { what, status: 401, body: '' })
      }
      const unfit: Record<string, string> = {
        'for a clone': await forged(scene, { operation: 'Clone' }),
        'for a pod': await forged(scene, { resource: 'pods' }),
        'for nothing': await forged(scene, { name: '' }),
      }
      for (const [what, token] of Object.entries(unfit)) {
        const { status, body } = await post(bearer(token))
        assert.deepEqual({ what, status, body }, { what, status: 400, body: '' })
      }
      // The disk is untouched, and the right token is as good as ever.
      assert.equal((await curlUpload(scene, stage().proxy, { file: raw(), token: good })).status, 200)
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'wants a bearer',
    () => stage().cluster,
    async (scene) => {
      const token = await tokenFor(scene)
      const wrong = [[], ['--header', `Authorization: ${token}`], ['--user', 'user:password'], bearer('')]
      for (const args of wrong) assert.equal((await post(args)).status, 400, args.join(' '))
      // The scheme's name is written as one likes (RFC 9110 §11.1); this claim is not there.
      const { status, body } = await post(['--header', `authorization: bearer ${token}`])
      assert.equal(status, 404)
      assert.match(body, /rejecting Upload Request for PVC dv that doesn&#39;t exist/)
    },
  )

  scenario(
    'lets a token work on its own claim only',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await using other = await openOther(scene)
      const { status, body } = await post(bearer(await tokenFor(other.scene)))
      assert.equal(status, 404)
      assert.match(body, /PVC dv that doesn/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
    },
  )

  scenario(
    'explains which claims cannot be uploaded to',
    () => stage().cluster,
    async (scene) => {
      const plain = (name: string, annotations: Record<string, string>) =>
        scene.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name, annotations },
          spec: {
            accessModes: ['ReadWriteOnce'],
            storageClassName: 'csi-immediate',
            resources: { requests: { storage: '64Mi' } },
          },
        })
      await plain('plain', {})
      const script = '<script>alert("x")</script>'
      await plain('odd', {
        'cdi.kubevirt.io/storage.upload.target': '',
        'cdi.kubevirt.io/storage.contentType': script,
      })
      await scene.until(
        'the pod of the odd claim',
        () => scene.pvc('odd')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.ready'] === 'true',
      )
      const told = async (name: string, expected: number): Promise<string> => {
        const { status, body } = await post(bearer(await tokenFor(scene, name)))
        assert.equal(status, expected, body)
        return body.trim()
      }
      assert.match(await told('plain', 409), /PVC plain is not an upload target/)
      const odd = await told('odd', 503)
      assert.match(
        odd,
        /rejecting upload request for PVC odd - upload content-type &lt;script&gt;alert\(.+\)&lt;\/script&gt; is invalid/,
      )
      assert.ok(!odd.includes('<'))
    },
  )

  scenario(
    'refuses a second upload to a disk that is there',
    () => stage().cluster,
    async (scene) => {
      const disk = uploadDisk().annotate('cdi.kubevirt.io/storage.usePopulator', 'false')
      await openTarget(scene, disk)
      await openTarget(scene, uploadDisk('populated'))
      for (const pvcName of ['dv', 'populated']) {
        assert.equal((await curlUpload(scene, stage().proxy, { file: raw(), pvcName })).status, 200)
        await scene.succeeds(pvcName)
        const { status, body } = await curlUpload(scene, stage().proxy, { file: raw(), pvcName })
        assert.equal(status, 503, body)
        assert.match(body, new RegExp(`PVC ${pvcName} that already finished uploading`))
        assert.equal((await scene.disk(pvcName, stage().images.bytes)).sha256, stage().images.sha256)
      }
    },
  )

  scenario(
    'waits for a server that is on its way',
    () => stage().cluster,
    async (scene) => {
      const token = await tokenFor(scene)
      await scene.apply(uploadDisk())
      await scene.until('the claim', () => scene.pvc('dv'))
      // A busy machine may need more than the proxy's ten seconds; then the client is told to come again.
      for (let tries = 0; tries < 10; tries += 1) {
        const { status, body } = await curlUpload(scene, stage().proxy, { file: raw(), token })
        if (status === 200) break
        assert.equal(status, 503, body)
      }
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'knows its paths and is well',
    () => stage().cluster,
    async (scene) => {
      const { proxy } = stage()
      const { status, body } = await proxy.curl('/healthz')
      assert.deepEqual([status, body], [200, 'OK'])
      const token = bearer(await tokenFor(scene))
      for (const path of ['/v1beta1/upload/', '/v1beta1/upload-archive', '/v1/upload', '/v1beta1/uploads']) {
        assert.equal((await post(token, path)).status, 404, path)
      }
    },
  )

  scenario(
    'lets pages of other origins in',
    () => stage().cluster,
    async (scene) => {
      const { proxy } = stage()
      const origin = ['--header', 'Origin: https://console.example.com']
      const preflight = await proxy.curl('/v1beta1/upload', [
        '--request',
        'OPTIONS',
        ...origin,
        '--header',
        'Access-Control-Request-Method: POST',
        '--header',
        'Access-Control-Request-Headers: authorization,content-type',
      ])
      assert.equal(preflight.status, 200)
      assert.equal(preflight.headers['access-control-allow-origin'], '*')
      assert.match(preflight.headers['access-control-allow-methods'] ?? '', /POST/)
      assert.match(preflight.headers['access-control-allow-headers'] ?? '', /authorization,\s*content-type/i)
      const refused = await post([...origin, ...bearer('bad')])
      assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [401, '*'])
      assert.match(refused.headers['vary'] ?? '', /Origin/)
      await openTarget(scene)
      const taken = await curlUpload(scene, proxy, { file: raw(), args: origin })
      assert.deepEqual([taken.status, taken.headers['access-control-allow-origin']], [200, '*'])
    },
  )

  scenario(
    'and the API server are reached by port-forward',
    () => stage().cluster,
    async () => {
      const { proxy } = stage()
      for (const name of ['cdi-uploadproxy', 'cdi-api']) {
        await using forward = await portForward({ namespace: installNamespace, target: `svc/${name}`, port: 443 })
        const { status, body } = await proxy
          .at({ host: '127.0.0.1', port: forward.port })
          .curl('/healthz', name === 'cdi-api' ? ['--insecure'] : [])
        assert.deepEqual([status, body], [200, 'OK'], name)
      }
    },
  )
})

describe('the webhooks', { concurrency: 3 }, () => {
  const refusal = async (scene: Scene, manifest: object, verb = 'create'): Promise<string> => {
    const { exitCode, stderr } = await kubectl(['-n', scene.namespace, verb, '-f', '-'], manifest)
    assert.notEqual(exitCode, 0, 'it was admitted')
    return stderr
  }
  const denied = (webhook: string, message: string): string =>
    `admission webhook "${webhook}.cdi.kubevirt.io" denied the request: ${message}`

  scenario(
    'say what is wrong with a DataVolume',
    () => stage().cluster,
    async (scene) => {
      const { metadata, ...rest } = uploadDisk().manifest(scene.namespace)
      const good = { ...rest, metadata }
      const wrong: [change: object, message: string][] = [
        [{ source: { upload: {}, blank: {} } }, ' Multiple Data volume sources'],
        [{ source: {} }, ' Missing Data volume source'],
        [
          { pvc: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
          ' Duplicate storage definition, both target storage and target pvc defined',
        ],
        [{ storage: { resources: { requests: { storage: '0' } } } }, " Storage size can't be equal or less than zero"],
      ]
      for (const [change, message] of wrong) {
        const stderr = await refusal(scene, { ...good, spec: { ...good.spec, ...change } })
        assert.ok(stderr.includes(denied('datavolume-validate', message)), `${JSON.stringify(change)}: ${stderr}`)
      }
      assert.deepEqual(scene.seen.dataVolumes.names(), [])
    },
  )

  scenario(
    'let nobody change the specification of what is there',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(uploadDisk())
      const { metadata, ...rest } = uploadDisk().storage('128Mi').manifest(scene.namespace)
      const stderr = await refusal(scene, { ...rest, metadata }, 'apply')
      assert.ok(stderr.includes(denied('datavolume-validate', ' Cannot update DataVolume Spec')), stderr)
      const source = {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'VolumeUploadSource',
        metadata: { name: 'source' },
        spec: { contentType: 'kubevirt' },
      }
      assert.equal((await kubectl(['-n', scene.namespace, 'apply', '-f', '-'], source)).exitCode, 0)
      const changed = await refusal(scene, { ...source, spec: { contentType: 'archive' } }, 'apply')
      assert.ok(changed.includes(denied('populator-validate', ' Cannot update VolumeUploadSource Spec')), changed)
      const odd = await refusal(scene, { ...source, metadata: { name: 'odd' }, spec: { contentType: 'iso' } })
      assert.ok(odd.includes(denied('populator-validate', ' ContentType not one of: kubevirt, archive')), odd)
      const long = await refusal(scene, { ...source, metadata: { name: 'x'.repeat(64) } })
      assert.ok(long.includes(denied('populator-validate', ' Name cannot be longer than 63 characters')), long)
    },
  )

  scenario(
    'do not let a DataVolume take a claim that is there',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'dv' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '64Mi' } } },
      })
      const { metadata, ...rest } = uploadDisk().manifest(scene.namespace)
      const stderr = await refusal(scene, { ...rest, metadata })
      const message = ` Destination PVC ${scene.namespace}/dv already exists`
      assert.ok(stderr.includes(denied('datavolume-validate', message)), stderr)
    },
  )
})

describe('a target that somebody uses', () => {
  scenario(
    'gets no server until it is free, and the user is named',
    () => stage().cluster,
    async (scene) => {
      await boundClaim(scene, 'disk')
      const name = await scene.use('disk', 'sleep 600')
      // Claims and pods are two watches of the controller; by then it has long seen the pod.
      await scene.until('the pod to run', () => scene.pod(name)?.status?.phase === 'Running')
      await scene.annotate(kinds.pvc, 'disk', { 'cdi.kubevirt.io/storage.upload.target': '' })
      await scene.tells(
        'PersistentVolumeClaim/disk',
        `Warning UploadTargetInUse: pod ${scene.namespace}/${name} using PersistentVolumeClaim disk`,
      )
      assert.equal(scene.seen.uploadPods('disk').length, 0)
      await scene.cluster.kube.delete(kinds.pod, { namespace: scene.namespace, name }, { gracePeriodSeconds: 0 })
      await scene.until(
        'the server',
        () => scene.pvc('disk')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.ready'] === 'true',
      )
      assert.equal(carrierOf(scene, 'disk')?.metadata.name, 'disk')
      assert.equal((await curlUpload(scene, stage().proxy, { file: raw(), pvcName: 'disk' })).status, 200)
      await scene.until(
        'the end',
        () => scene.pvc('disk')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded',
      )
      assert.equal((await scene.disk('disk', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )
})
