import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import { renderImporterPod } from '../../../../src/controllers/import/pod.ts'
import type { ImporterPodInput } from '../../../../src/controllers/import/pod.ts'
import { renderScratchClaim } from '../../../../src/controllers/import/scratch.ts'
import { cdiConfig, claim, importerPod, populatedTarget, prime } from '../fixtures.ts'

const resources = { limits: { cpu: '750m', memory: '600M' }, requests: { cpu: '100m', memory: '60M' } }

function rendered(facts: Partial<ImporterPodInput> = {}): ReturnType<typeof renderImporterPod> {
  return renderImporterPod({
    carrier: prime({ owner: populatedTarget() }),
    labelled: populatedTarget({ labels: { 'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled' } }),
    podName: 'importer-prime-uid-dv',
    withScratch: false,
    settings: { image: 'cdi-importer:1', pullPolicy: 'IfNotPresent', verbosity: 3, installer: {} },
    config: cdiConfig({ defaultPodResourceRequirements: resources }),
    cdi: undefined,
    filesystemOverhead: '0.06',
    ...facts,
  })
}

const env = (pod: ReturnType<typeof rendered>): Record<string, string | undefined> =>
  Object.fromEntries((pod.spec?.containers[0]?.env ?? []).map(({ name, value }) => [name, value]))

describe('the importer pod', () => {
  it('has the metadata of the recordings', () => {
    const { metadata } = rendered()
    assert.deepEqual(metadata.annotations, {
      'cdi.kubevirt.io/storage.createdByController': 'yes',
      'linkerd.io/inject': 'disabled',
      'sidecar.istio.io/inject': 'false',
    })
    assert.deepEqual(metadata.labels, {
      'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
      app: 'containerized-data-importer',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'cdi.kubevirt.io': 'importer',
      'prometheus.cdi.kubevirt.io': 'true',
    })
    assert.deepEqual(metadata.ownerReferences, [
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        name: 'prime-uid-dv',
        uid: 'uid-prime',
        controller: true,
        blockOwnerDeletion: true,
      },
    ])
  })

  it('runs locked down, without a token of its own', () => {
    const { spec } = rendered()
    const [container] = spec?.containers ?? []
    assert.deepEqual(container?.securityContext, {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      runAsUser: 107,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    assert.deepEqual(spec?.securityContext, { fsGroup: 107, seccompProfile: { type: 'RuntimeDefault' } })
    assert.equal(spec?.automountServiceAccountToken, false)
    assert.equal(spec?.enableServiceLinks, false)
    assert.equal(spec?.restartPolicy, 'OnFailure')
    assert.deepEqual(container?.resources, resources)
    assert.deepEqual(container?.ports, [{ name: 'metrics', containerPort: 8443, protocol: 'TCP' }])
    assert.deepEqual(container?.args, ['-v=3'])
  })

  it("writes to a file system at /data and reports progress under T's UID", () => {
    const pod = rendered()
    assert.deepEqual(pod.spec?.containers[0]?.volumeMounts, [
      { name: 'cdi-data-vol', mountPath: '/data' },
      { name: 'cdi-journal-vol', mountPath: '/var/lib/cdi' },
    ])
    assert.equal(env(pod)['OWNER_UID'], 'uid-dv')
    assert.equal(env(pod)['IMPORTER_IMAGE_SIZE'], '71135396')
    assert.equal(env(pod)['FILESYSTEM_OVERHEAD'], '0.06')
  })

  it('writes to a block device, which has no file system overhead', () => {
    const pod = rendered({ carrier: prime({ spec: { volumeMode: 'Block' } }) })
    assert.deepEqual(pod.spec?.containers[0]?.volumeDevices, [
      { name: 'cdi-data-vol', devicePath: '/dev/cdi-block-volume' },
    ])
    assert.equal(env(pod)['FILESYSTEM_OVERHEAD'], '0')
  })

  it('mounts what the source asks for and passes headers in their order', () => {
    const pod = rendered({
      withScratch: true,
      config: cdiConfig({ importProxy: { HTTPProxy: 'http://proxy:3128', trustedCAProxy: 'proxy-ca' } }),
      carrier: prime({
        annotated: {
          [annotations.importCertConfigMap]: 'my-ca',
          [annotations.importSecretName]: 'my-secret',
          'cdi.kubevirt.io/storage.import.secretExtraHeaders.0': 'header-secret',
          ...Object.fromEntries(
            Array.from({ length: 11 }, (_, n) => [`cdi.kubevirt.io/storage.import.extraHeaders.${n}`, `X-${n}: ${n}`]),
          ),
        },
      }),
    })
    const mounts = Object.fromEntries(
      (pod.spec?.containers[0]?.volumeMounts ?? []).map(({ name, mountPath }) => [mountPath, name]),
    )
    assert.equal(mounts['/scratch'], 'cdi-scratch-vol')
    assert.equal(mounts['/certs'], 'cdi-cert-vol')
    assert.equal(mounts['/proxycerts/'], 'cdi-proxy-cert-vol')
    assert.ok(mounts['/extraheaders/0'])
    const volume = (name: string | undefined): unknown =>
      pod.spec?.volumes?.find((candidate) => candidate.name === name)
    assert.deepEqual(volume('cdi-cert-vol'), { name: 'cdi-cert-vol', configMap: { name: 'my-ca' } })
    assert.deepEqual(volume('cdi-proxy-cert-vol'), {
      name: 'cdi-proxy-cert-vol',
      configMap: { name: 'import-proxy-cm-prime-uid-dv' },
    })
    assert.equal(env(pod)['http_proxy'], 'http://proxy:3128')
    assert.equal(env(pod)['IMPORTER_EXTRA_HEADER_2'], 'X-2: 2')
    assert.equal(env(pod)['IMPORTER_EXTRA_HEADER_10'], 'X-10: 10')
    const secret = pod.spec?.containers[0]?.env?.find(({ name }) => name === 'IMPORTER_ACCESS_KEY_ID')
    assert.deepEqual(secret?.valueFrom, { secretKeyRef: { name: 'my-secret', key: 'accessKeyId' } })
  })

  it('knows no proxy for a blank disk', () => {
    const pod = rendered({
      carrier: claim({ annotated: { [annotations.importSource]: 'none' } }),
      config: cdiConfig({ importProxy: { HTTPProxy: 'http://proxy:3128', trustedCAProxy: 'proxy-ca' } }),
    })
    assert.equal(env(pod)['http_proxy'], undefined)
    assert.ok('http_proxy' in env(pod), 'the variable is there, without a value')
    assert.equal(
      pod.spec?.volumes?.some(({ name }) => name === 'cdi-proxy-cert-vol'),
      false,
    )
  })

  it('uses direct I/O after it ran out of memory', () => {
    assert.equal(env(rendered())['CACHE_MODE'], undefined)
    assert.equal(
      env(rendered({ carrier: prime({ annotated: { [annotations.requiresDirectIo]: 'true' } }) }))['CACHE_MODE'],
      'TRYNONE',
    )
  })

  it("bears the claim's annotations about networks, meshes, priority and account, and no others", () => {
    const passed = {
      'k8s.v1.cni.cncf.io/networks': 'storage-net',
      'v1.multus-cni.io/default-network': 'other-net',
      'sidecar.istio.io/inject': 'true',
      'linkerd.io/inject': 'enabled',
      [annotations.podPriorityClassName]: 'high',
      [annotations.podServiceAccountName]: 'importer',
    }
    const pod = rendered({ carrier: prime({ annotated: { ...passed, 'example.com/own': 'x' } }) })
    assert.deepEqual(pod.metadata.annotations, { ...passed, [annotations.createdByController]: 'yes' })
  })

  it("bears all labels of the claim, which win over the worker's own", () => {
    const labels = { app: 'mine', 'cdi.kubevirt.io': 'x', team: 'blue' }
    const pod = rendered({ labelled: populatedTarget({ labels }) })
    for (const [key, value] of Object.entries(labels)) assert.equal(pod.metadata.labels?.[key], value)
  })

  it('runs where and as what the claim and the installation say', () => {
    const pod = rendered({
      carrier: prime({
        annotated: {
          'volume.kubernetes.io/selected-node': 'node01',
          'sidecar.istio.io/inject': 'true',
          [annotations.podServiceAccountName]: 'importer',
          [annotations.podPriorityClassName]: 'high',
        },
      }),
      cdi: {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'CDI',
        metadata: { name: 'cdi', uid: 'u', resourceVersion: '1' },
        spec: { workload: { nodeSelector: { 'kubernetes.io/os': 'linux' }, tolerations: [{ operator: 'Exists' }] } },
      },
      config: cdiConfig({ imagePullSecrets: [{ name: 'pull' }] }),
    })
    assert.equal(pod.spec?.nodeName, 'node01')
    assert.equal(pod.spec?.serviceAccountName, 'importer')
    assert.equal(pod.spec?.automountServiceAccountToken, undefined)
    assert.equal(pod.spec?.priorityClassName, 'high')
    assert.deepEqual(pod.spec?.imagePullSecrets, [{ name: 'pull' }])
    assert.deepEqual(pod.spec?.nodeSelector, { 'kubernetes.io/os': 'linux' })
    assert.equal(pod.metadata.annotations?.['sidecar.istio.io/inject'], 'true')
  })
})

describe('the scratch claim', () => {
  it('has room for the disk, rounded up to MiB (contract: T 71135396 gives 71303168)', () => {
    const carrier = prime({ annotated: { 'kubevirt.io/mine': 'yes', 'cdi.kubevirt.io/ours': 'no' } })
    const scratch = renderScratchClaim({
      carrier,
      pod: importerPod(carrier),
      config: cdiConfig(),
      installer: {},
      overheadOf: () => '0.06',
    })
    assert.equal(scratch.spec?.resources?.requests?.['storage'], '71303168')
    assert.equal(scratch.spec?.storageClassName, 'csi')
    assert.equal(scratch.spec?.volumeMode, 'Filesystem')
    assert.equal(scratch.metadata.ownerReferences?.[0]?.kind, 'Pod')
    assert.deepEqual(scratch.metadata.annotations, { 'kubevirt.io/mine': 'yes' })
  })

  it('goes to the configured class and follows P to its node', () => {
    const carrier = prime({
      annotated: { 'volume.kubernetes.io/selected-node': 'node01' },
      spec: { volumeMode: 'Block' },
    })
    const scratch = renderScratchClaim({
      carrier,
      pod: importerPod(carrier),
      config: cdiConfig({ scratchSpaceStorageClass: 'fast' }),
      installer: {},
      overheadOf: (name) => (name === 'fast' ? '0.10' : '0.50'),
    })
    assert.equal(scratch.spec?.storageClassName, 'fast')
    assert.deepEqual(scratch.metadata.annotations, { 'volume.kubernetes.io/selected-node': 'node01' })
    // usable of a block volume is all of it: floor to MiB of 71135396 is 67 MiB, plus 10 %, up to MiB.
    assert.equal(scratch.spec?.resources?.requests?.['storage'], String(74 * 1024 * 1024))
  })
})
