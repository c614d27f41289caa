import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import type { Pod } from '../../../../src/api/kinds.ts'
import { parseUploadEnv } from '../../../../src/api/upload-env.ts'
import type { UploadServerEnv } from '../../../../src/api/upload-env.ts'
import { renderUploadPod, renderUploadSecret, renderUploadService } from '../../../../src/controllers/upload/pod.ts'
import type { UploadPodInput } from '../../../../src/controllers/upload/pod.ts'
import type { NewObject } from '../../../../src/kube/object.ts'
import { cdiConfig, claim, uploadClaim, uploadPod, uploadPrime } from '../fixtures.ts'

const resources = { limits: { cpu: '750m', memory: '600M' }, requests: { cpu: '100m', memory: '60M' } }
const deadline = Date.parse('2026-01-01T12:00:00Z')

function rendered(facts: Partial<UploadPodInput> = {}): NewObject<Pod> {
  return renderUploadPod({
    carrier: uploadPrime(),
    podName: 'cdi-upload-prime-uid-dv',
    withScratch: false,
    settings: { image: 'cdi-uploadserver:1', pullPolicy: 'IfNotPresent', verbosity: 3, installer: {} },
    config: cdiConfig({ defaultPodResourceRequirements: resources }),
    cdi: undefined,
    filesystemOverhead: '0.06',
    deadline,
    ...facts,
  })
}

function told(pod: NewObject<Pod>): UploadServerEnv {
  const env = pod.spec?.containers[0]?.env ?? []
  return parseUploadEnv(Object.fromEntries(env.map(({ name, value }) => [name, value])))
}

describe('the pod of an upload server', () => {
  it('has the metadata of the recordings', () => {
    const { metadata } = rendered()
    assert.deepEqual(metadata, {
      name: 'cdi-upload-prime-uid-dv',
      namespace: 'vms',
      annotations: {
        'cdi.kubevirt.io/storage.createdByUploadController': 'yes',
        'k8s.ovn.org/open-default-ports': '[{"protocol":"tcp","port":8443}]',
        'linkerd.io/inject': 'disabled',
        'sidecar.istio.io/inject': 'false',
      },
      labels: {
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
        'cdi.kubevirt.io': 'cdi-upload-server',
        'cdi.kubevirt.io/uploadTarget': 'uid-prime',
        service: 'cdi-upload-prime-uid-dv',
      },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          name: 'prime-uid-dv',
          uid: 'uid-prime',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    })
  })

  it('has the container of the recordings, but for command, probes, journal and what is ours in its environment', () => {
    const { spec } = rendered()
    const [container, ...others] = spec?.containers ?? []
    assert.deepEqual(others, [])
    const { env = [], startupProbe, readinessProbe, ...rest } = container ?? { name: '' }
    assert.deepEqual(rest, {
      args: ['-v=3'],
      command: ['/usr/bin/cdi', 'uploadserver'],
      image: 'cdi-uploadserver:1',
      imagePullPolicy: 'IfNotPresent',
      name: 'cdi-upload-server',
      resources,
      securityContext: {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
        runAsNonRoot: true,
        runAsUser: 107,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'FallbackToLogsOnError',
      volumeMounts: [
        { mountPath: '/etc/tls/', name: 'tls-config' },
        { mountPath: '/data', name: 'cdi-data-vol' },
        { mountPath: '/var/lib/cdi', name: 'cdi-journal-vol' },
      ],
    })
    const healthz = { path: '/healthz', port: 8443, scheme: 'HTTPS' }
    assert.deepEqual(startupProbe?.httpGet, healthz)
    assert.equal(startupProbe.periodSeconds, 1)
    assert.deepEqual(readinessProbe?.httpGet, healthz)
    assert.equal(readinessProbe.periodSeconds, 5)
    assert.deepEqual(
      env.slice(0, 10).map(({ name, value }) => [name, value]),
      [
        ['TLS_KEY_FILE', '/etc/tls/tls.key'],
        ['TLS_CERT_FILE', '/etc/tls/tls.crt'],
        ['CLIENT_CERT_FILE', '/etc/tls/ca.crt'],
        ['FILESYSTEM_OVERHEAD', '0.06'],
        ['UPLOAD_IMAGE_SIZE', '71135396'],
        ['CLIENT_NAME', 'client.upload-server.cdi.kubevirt.io'],
        ['PREALLOCATION', 'false'],
        [
          'TLS_CIPHERS',
          'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305,DHE-RSA-AES128-GCM-SHA256,DHE-RSA-AES256-GCM-SHA384',
        ],
        ['TLS_MIN_VERSION', 'VersionTLS12'],
        ['DEADLINE', '2026-01-01T12:00:00.000Z'],
      ],
    )
  })

  it('runs locked down, without a token of its own, where and as what claim and installation say', () => {
    const { spec } = rendered()
    const { containers: _, volumes: __, ...rest } = spec ?? { containers: [] }
    assert.deepEqual(rest, {
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      restartPolicy: 'OnFailure',
      securityContext: { fsGroup: 107, seccompProfile: { type: 'RuntimeDefault' } },
    })
    const workload = { nodeSelector: { disk: 'fast' }, tolerations: [{ key: 'k', operator: 'Exists' }] }
    const placed = rendered({
      carrier: uploadPrime({
        annotated: {
          [annotations.podPriorityClassName]: 'high',
          [annotations.podServiceAccountName]: 'sender',
          [annotations.selectedNode]: 'node01',
          [annotations.networks]: 'storage-net',
        },
      }),
      config: cdiConfig({ imagePullSecrets: [{ name: 'login' }] }),
      cdi: {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'CDI',
        metadata: { name: 'cdi', uid: 'u', resourceVersion: '1' },
        spec: { workload },
      },
    })
    assert.equal(placed.spec?.priorityClassName, 'high')
    assert.equal(placed.spec.serviceAccountName, 'sender')
    assert.equal(placed.spec.automountServiceAccountToken, undefined)
    assert.equal(placed.spec.nodeName, 'node01')
    assert.deepEqual(placed.spec.imagePullSecrets, [{ name: 'login' }])
    assert.deepEqual(placed.spec.nodeSelector, workload.nodeSelector)
    assert.deepEqual(placed.spec.tolerations, workload.tolerations)
    assert.equal(placed.metadata.annotations?.[annotations.networks], 'storage-net')
  })

  it('does not bear the labels of its claim', () => {
    assert.equal(rendered({ carrier: uploadPrime({ labels: { mine: 'x' } }) }).metadata.labels?.['mine'], undefined)
  })

  it('is told what the claim wants', () => {
    const resumption = '{"id":"a","ranges":[],"expires":"2030-01-01T00:00:00Z"}'
    const carrier = uploadClaim({
      annotated: {
        [annotations.contentType]: 'archive',
        [annotations.preallocationRequested]: 'true',
        [annotations.uploadChecksum]: 'sha256:00',
        [annotations.uploadResumption]: resumption,
      },
    })
    const env = told(rendered({ carrier }))
    assert.equal(env.contentType, 'archive')
    assert.equal(env.preallocation, true)
    assert.equal(env.checksum, 'sha256:00')
    assert.equal(env.resumption, resumption)
    const plain = told(rendered())
    assert.deepEqual([plain.contentType, plain.checksum, plain.resumption], ['kubevirt', '', ''])
  })

  it('writes to a block device, which has no file system overhead', () => {
    const pod = rendered({ carrier: uploadPrime({ spec: { volumeMode: 'Block' } }) })
    assert.deepEqual(pod.spec?.containers[0]?.volumeDevices, [
      { name: 'cdi-data-vol', devicePath: '/dev/cdi-block-volume' },
    ])
    assert.equal(told(pod).filesystemOverhead, '0')
  })

  it('has scratch only when it asked for it', () => {
    const pod = rendered({ withScratch: true })
    assert.deepEqual(
      pod.spec?.volumes?.map(({ name }) => name),
      ['tls-config', 'cdi-data-vol', 'cdi-scratch-vol', 'cdi-journal-vol'],
    )
    assert.deepEqual(
      pod.spec?.containers[0]?.volumeMounts?.find(({ name }) => name === 'cdi-scratch-vol')?.mountPath,
      '/scratch',
    )
  })

  it('of a copy lets its cloner in and nobody else', () => {
    const env = told(
      rendered({ carrier: claim({ name: 'tmp-pvc-1', annotated: { [annotations.cloneRequest]: 'golden/src' } }) }),
    )
    assert.deepEqual([env.clientName, env.isCloneTarget], ['golden/src-vms/tmp-pvc-1', true])
    const names = rendered().spec?.containers[0]?.env?.map(({ name }) => name) ?? []
    assert.ok(!names.includes('UPLOAD_CLONE_TARGET'), 'uploads are told nothing of copies')
  })

  it('obeys the TLS profile that is in force when it is made', () => {
    const env = told(rendered({ config: cdiConfig({}, { tlsSecurityProfile: { type: 'Modern', modern: {} } }) }))
    assert.equal(env.tlsMinVersion, 'VersionTLS13')
  })
})

describe('what lies beside an upload server', () => {
  it('is a Service that selects it, of a name that the proxy can compute whatever the pod is called', () => {
    const carrier = uploadClaim({ name: 'a.b', annotated: { [annotations.uploadPodName]: 'cdi-upload-other' } })
    assert.deepEqual(renderUploadService({ carrier, installer: {} }), {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        name: 'cdi-upload-a-b',
        namespace: 'vms',
        annotations: { 'cdi.kubevirt.io/storage.createdByUploadController': 'yes' },
        labels: {
          app: 'containerized-data-importer',
          'app.kubernetes.io/component': 'storage',
          'app.kubernetes.io/managed-by': 'cdi-controller',
          'cdi.kubevirt.io': 'cdi-upload-server',
        },
        ownerReferences: rendered({ carrier }).metadata.ownerReferences,
      },
      spec: {
        clusterIP: 'None',
        ports: [{ port: 8443, targetPort: 8443, protocol: 'TCP' }],
        selector: { service: 'cdi-upload-a-b' },
      },
    })
  })

  it('is a Secret of its name, which goes with it', () => {
    const secret = renderUploadSecret({
      pod: uploadPod(uploadPrime()),
      identity: { certPem: 'cert', keyPem: 'key', clientCaPem: 'ca', deadline },
      installer: {},
    })
    assert.equal(secret.metadata.name, 'cdi-upload-prime-uid-dv')
    assert.deepEqual(
      secret.metadata.ownerReferences?.map(({ kind, uid }) => [kind, uid]),
      [['Pod', 'uid-pod']],
    )
    const texts = Object.entries(secret.data ?? {}).map(([name, text]) => [
      name,
      Buffer.from(text, 'base64').toString(),
    ])
    assert.deepEqual(Object.fromEntries(texts), { 'tls.key': 'key', 'tls.crt': 'cert', 'ca.crt': 'ca' })
  })
})
