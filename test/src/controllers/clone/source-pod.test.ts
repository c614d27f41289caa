import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseClonerEnv } from '../../../../src/api/cloner-env.ts'
import type { ClonerEnv } from '../../../../src/api/cloner-env.ts'
import type { CDI, Pod } from '../../../../src/api/kinds.ts'
import { annotations } from '../../../../src/api/names.ts'
import { renderSourcePod, renderSourceSecret } from '../../../../src/controllers/clone/source-pod.ts'
import type { SourcePodInput } from '../../../../src/controllers/clone/source-pod.ts'
import type { NewObject } from '../../../../src/kube/object.ts'
import { cdiConfig, dataVolume } from '../fixtures.ts'
import { receiver, source, sourcePod } from './copy-fixtures.ts'

const resources = { limits: { cpu: '750m', memory: '600M' }, requests: { cpu: '100m', memory: '60M' } }

function rendered(facts: Partial<SourcePodInput> = {}): NewObject<Pod> {
  return renderSourcePod({
    receiver: receiver({ annotated: { [annotations.ownerUid]: 'uid-t' } }),
    source: source(),
    settings: { image: 'cdi-cloner:1', pullPolicy: 'IfNotPresent', verbosity: 3, installer: {} },
    config: cdiConfig({ defaultPodResourceRequirements: resources }),
    cdi: undefined,
    ...facts,
  })
}

function told(pod: NewObject<Pod>): ClonerEnv {
  const env = pod.spec?.containers[0]?.env ?? []
  return parseClonerEnv(Object.fromEntries(env.map(({ name, value }) => [name, value])))
}

/** The placement of all workers. */
function cdiWith(workload: NonNullable<CDI['spec']['workload']>): CDI {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'CDI',
    metadata: { name: 'cdi', uid: 'u', resourceVersion: '1' },
    spec: { workload },
  }
}

const nearSource = {
  labelSelector: {
    matchExpressions: [
      { key: 'cdi.kubevirt.io/hostAssistedSourcePodCloneSource', operator: 'In', values: ['uid-src'] },
    ],
  },
  namespaces: ['vms'],
  topologyKey: 'kubernetes.io/hostname',
}

const nearServer = {
  podAffinityTerm: {
    labelSelector: {
      matchExpressions: [{ key: 'cdi.kubevirt.io/uploadTarget', operator: 'In', values: ['uid-u'] }],
    },
    namespaces: ['vms'],
    topologyKey: 'kubernetes.io/hostname',
  },
  weight: 100,
}

describe('a source pod', () => {
  it('has the metadata of the recordings, and no owner', () => {
    assert.deepEqual(rendered().metadata, {
      name: 'uid-u-source-pod',
      namespace: 'vms',
      annotations: {
        'cdi.kubevirt.io/storage.createdByController': 'yes',
        'cdi.kubevirt.io/storage.ownerRef': 'vms/tmp-pvc-1',
        'linkerd.io/inject': 'disabled',
        'sidecar.istio.io/inject': 'false',
      },
      labels: {
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
        'cdi.kubevirt.io': 'cdi-clone-source',
        'cdi.kubevirt.io/hostAssistedSourcePodCloneSource': 'uid-src',
        'cdi.kubevirt.io/storage.clone.cloneUniqeId': 'uid-u-source-pod',
        'prometheus.cdi.kubevirt.io': 'true',
      },
    })
  })

  it('has the container of the recordings, but for command and certificates, which are files', () => {
    const { spec } = rendered()
    const [container, ...others] = spec?.containers ?? []
    assert.deepEqual(others, [])
    assert.deepEqual(container, {
      args: ['-v=3'],
      command: ['/usr/bin/cdi', 'cloner'],
      env: [
        { name: 'VOLUME_MODE', value: 'filesystem' },
        { name: 'MOUNT_POINT', value: '/var/run/cdi/clone/source' },
        { name: 'CLONE_CONTENT_TYPE', value: 'kubevirt' },
        { name: 'UPLOAD_URL', value: 'https://cdi-upload-tmp-pvc-1.vms.svc:8443/v1beta1/upload' },
        { name: 'CLIENT_KEY_FILE', value: '/etc/tls/tls.key' },
        { name: 'CLIENT_CERT_FILE', value: '/etc/tls/tls.crt' },
        { name: 'SERVER_CA_FILE', value: '/etc/tls/ca.crt' },
        { name: 'PREALLOCATION', value: 'false' },
        { name: 'OWNER_UID', value: 'uid-t' },
      ],
      image: 'cdi-cloner:1',
      imagePullPolicy: 'IfNotPresent',
      name: 'cdi-clone-source',
      ports: [{ containerPort: 8443, name: 'metrics', protocol: 'TCP' }],
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
        { mountPath: '/var/run/cdi/clone/source', name: 'cdi-data-vol', readOnly: true },
        { mountPath: '/etc/tls/', name: 'tls-config', readOnly: true },
      ],
    })
    assert.deepEqual(spec?.volumes, [
      { name: 'cdi-data-vol', persistentVolumeClaim: { claimName: 'src' } },
      { name: 'tls-config', secret: { secretName: 'uid-u-source-pod' } },
    ])
  })

  it('runs locked down, without a token, near the other readers and the upload server', () => {
    const { containers: _, volumes: __, ...rest } = rendered().spec ?? { containers: [] }
    assert.deepEqual(rest, {
      affinity: {
        podAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [nearServer],
          requiredDuringSchedulingIgnoredDuringExecution: [nearSource],
        },
      },
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      restartPolicy: 'OnFailure',
      securityContext: { fsGroup: 107, seccompProfile: { type: 'RuntimeDefault' } },
    })
  })

  for (const modes of [['ReadWriteMany'], ['ReadWriteOnce', 'ReadWriteMany'], ['ReadOnlyMany'], ['ReadWriteOncePod']]) {
    it(`may be anywhere if its source can be read so: ${modes.join()}`, () => {
      const { affinity } = rendered({ source: source({ spec: { accessModes: modes } }) }).spec ?? {}
      assert.deepEqual(affinity, { podAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [nearServer] } })
    })
  }

  it('is placed as all workers are, with its own wishes added', () => {
    const theirs = { weight: 1, podAffinityTerm: { topologyKey: 'zone' } }
    const nodeAffinity = {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'Exists' }] }],
      },
    }
    const { spec } = rendered({
      cdi: cdiWith({
        nodeSelector: { disk: 'fast' },
        tolerations: [{ key: 'k', operator: 'Exists' }],
        affinity: { nodeAffinity, podAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [theirs] } },
      }),
      config: cdiConfig({ imagePullSecrets: [{ name: 'login' }] }),
    })
    assert.deepEqual(spec?.nodeSelector, { disk: 'fast' })
    assert.deepEqual(spec.tolerations, [{ key: 'k', operator: 'Exists' }])
    assert.deepEqual(spec.imagePullSecrets, [{ name: 'login' }])
    assert.deepEqual(spec.affinity, {
      nodeAffinity,
      podAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [theirs, nearServer],
        requiredDuringSchedulingIgnoredDuringExecution: [nearSource],
      },
    })
  })

  it('takes priority and network from its receiver, but neither node nor account, which may not fit here', () => {
    const { spec, metadata } = rendered({
      receiver: receiver({
        annotated: {
          [annotations.podPriorityClassName]: 'high',
          [annotations.podServiceAccountName]: 'sender',
          [annotations.populatorKind]: 'VolumeCloneSource',
          [annotations.selectedNode]: 'node01',
          [annotations.networks]: 'storage-net',
        },
      }),
    })
    assert.equal(spec?.priorityClassName, 'high')
    assert.equal(spec.serviceAccountName, undefined)
    assert.equal(spec.automountServiceAccountToken, false)
    assert.equal(spec.nodeName, undefined)
    assert.equal(metadata.annotations?.[annotations.networks], 'storage-net')
  })

  it('reads a block volume as a device', () => {
    const pod = rendered({ source: source({ spec: { volumeMode: 'Block' } }) })
    const [container] = pod.spec?.containers ?? []
    assert.deepEqual(container?.volumeDevices, [{ name: 'cdi-data-vol', devicePath: '/dev/cdi-block-volume' }])
    assert.deepEqual(
      container.volumeMounts?.map(({ name }) => name),
      ['tls-config'],
    )
    const { volumeMode, source: device } = told(pod)
    assert.deepEqual([volumeMode, device], ['block', '/dev/cdi-block-volume'])
  })

  it('is told what its receiver wants, and sends to it wherever it is', () => {
    const order = receiver({
      name: 'disk.v1',
      annotated: {
        [annotations.cloneRequest]: 'golden/src',
        [annotations.contentType]: 'archive',
        [annotations.preallocationRequested]: 'true',
        [annotations.uploadPodName]: 'of.an.older.version',
      },
    })
    const there = source()
    there.metadata.namespace = 'golden'
    const pod = rendered({ receiver: order, source: there })
    assert.equal(pod.metadata.namespace, 'golden')
    assert.equal(pod.metadata.annotations?.[annotations.ownerRef], 'vms/disk.v1')
    const env = told(pod)
    assert.equal(env.uploadUrl, 'https://cdi-upload-disk-v1.vms.svc:8443/v1beta1/upload')
    assert.deepEqual([env.contentType, env.preallocation], ['archive', true])
  })

  it('tells its progress under the UID that was asked for, of the owner, or of the claim', () => {
    assert.equal(told(rendered()).ownerUid, 'uid-t')
    assert.equal(told(rendered({ receiver: receiver({ owner: dataVolume() }) })).ownerUid, 'uid-dv')
    assert.equal(told(rendered({ receiver: receiver() })).ownerUid, 'uid-u')
  })

  it('has a Secret of its name, which goes with it', () => {
    const secret = renderSourceSecret({
      pod: sourcePod(receiver()),
      identity: { certPem: 'cert', keyPem: 'key', serverCaPem: 'ca' },
      installer: {},
    })
    assert.deepEqual([secret.metadata.name, secret.metadata.namespace], ['uid-u-source-pod', 'vms'])
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
