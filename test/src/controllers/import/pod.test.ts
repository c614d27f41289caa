import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Container } from '../../../../src/api/kinds.ts'
import { annotations } from '../../../../src/api/names.ts'
import { renderImporterPod } from '../../../../src/controllers/import/pod.ts'
import type { ImporterPodInput } from '../../../../src/controllers/import/pod.ts'
import { renderScratchClaim } from '../../../../src/controllers/shared/scratch.ts'
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

describe('the importer pod of an object in a store', () => {
  const of = (source: string, more: Record<string, string> = {}): ReturnType<typeof rendered> =>
    rendered({ carrier: prime({ annotated: { [annotations.importSource]: source, ...more } }) })
  const secret = { [annotations.importSecretName]: 'keys' }

  it('gets the two keys of the Secret for S3, by reference', () => {
    const pod = of('s3', { ...secret, [annotations.importCertConfigMap]: 'my-ca' })
    assert.equal(env(pod)['IMPORTER_SOURCE'], 's3')
    assert.deepEqual(
      pod.spec?.containers[0]?.env?.filter(({ valueFrom }) => valueFrom).map(({ valueFrom }) => valueFrom),
      ['accessKeyId', 'secretKey'].map((key) => ({ secretKeyRef: { name: 'keys', key } })),
    )
    assert.equal(env(pod)['IMPORTER_CERT_DIR'], '/certs')
  })

  it('finds the Secret for GCS at /google, since it is a file and no pair of keys', () => {
    const pod = of('gcs', secret)
    const mount = pod.spec?.containers[0]?.volumeMounts?.find(({ mountPath }) => mountPath === '/google')
    const volume = pod.spec?.volumes?.find(({ name }) => name === mount?.name)
    assert.deepEqual(volume?.secret, { secretName: 'keys' })
    assert.ok(!('IMPORTER_ACCESS_KEY_ID' in env(pod)))
  })

  it('has nothing at /google without a Secret: access is anonymous then', () => {
    const pod = of('gcs')
    assert.ok(!pod.spec?.containers[0]?.volumeMounts?.some(({ mountPath }) => mountPath === '/google'))
  })
})

describe('the importer pod of a container image that it pulls itself', () => {
  const registry = {
    [annotations.importSource]: 'registry',
    [annotations.importEndpoint]: 'docker://registry.example:5000/disk:1',
    [annotations.importRegistryArchitecture]: 'arm64',
    [annotations.importSecretName]: 'login',
  }
  const of = (more: Record<string, string> = {}, facts: Partial<ImporterPodInput> = {}): ReturnType<typeof rendered> =>
    rendered({ carrier: prime({ annotated: { ...registry, ...more } }), ...facts })

  it('is a pod as for any other source', () => {
    const { spec } = of()
    assert.deepEqual(
      spec?.containers.map(({ name }) => name),
      ['importer'],
    )
    assert.equal(spec?.initContainers, undefined)
    assert.equal(spec?.shareProcessNamespace, undefined)
    assert.equal(spec?.nodeSelector, undefined, 'the worker may run anywhere')
    assert.equal(spec?.containers[0]?.securityContext?.runAsGroup, undefined)
  })

  it('knows method, architecture and login', () => {
    const pod = of()
    assert.equal(env(pod)['IMPORTER_PULL_METHOD'], 'pod')
    assert.equal(env(pod)['IMPORTER_REGISTRY_IMAGE_ARCHITECTURE'], 'arm64')
    assert.ok('IMPORTER_ACCESS_KEY_ID' in env(pod))
    assert.equal(env(pod)['IMPORTER_READY_FILE'], undefined)
  })

  it('needs no scratch volume up front', () => {
    assert.ok(!of().spec?.volumes?.some(({ name }) => name === 'cdi-scratch-vol'))
  })

  it('does not verify a registry that the administrator has listed, and only that', () => {
    const listing = (entry: string): Partial<ImporterPodInput> => ({
      config: cdiConfig({}, { insecureRegistries: [entry] }),
    })
    assert.equal(env(of({}, listing('registry.example:5000')))['INSECURE_TLS'], 'true')
    assert.equal(env(of({}, listing('registry.example')))['INSECURE_TLS'], 'false')
    assert.equal(env(of({ [annotations.importInsecureSkipVerify]: 'true' }))['INSECURE_TLS'], 'false')
  })

  it('is not told that a web server on the host of a listed registry need not be verified', () => {
    const carrier = prime({ annotated: { [annotations.importEndpoint]: 'docker://registry.example:5000/disk.img' } })
    const config = cdiConfig({}, { insecureRegistries: ['registry.example:5000'] })
    assert.equal(env(rendered({ carrier, config }))['INSECURE_TLS'], 'false')
  })
})

describe('the importer pod of a container image that the kubelet pulls', () => {
  const node = {
    [annotations.importSource]: 'registry',
    [annotations.importEndpoint]: 'docker://registry.example:5000/disks/fedora:41',
    [annotations.importRegistryMethod]: 'node',
  }
  const of = (more: Record<string, string> = {}, facts: Partial<ImporterPodInput> = {}): ReturnType<typeof rendered> =>
    rendered({ carrier: prime({ annotated: { ...node, ...more } }), ...facts })
  const every = (pod: ReturnType<typeof rendered>): Container[] => [
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.containers ?? []),
  ]

  it('holds the importer first, then the image, with an init container before them', () => {
    assert.deepEqual(
      every(of()).map(({ name, image }) => [name, image]),
      [
        ['init', 'cdi-importer:1'],
        ['importer', 'cdi-importer:1'],
        ['server', 'registry.example:5000/disks/fedora:41'],
      ],
    )
  })

  it('shares its processes, which then need the same user and group to see the same files', () => {
    const pod = of()
    assert.equal(pod.spec?.shareProcessNamespace, true)
    for (const { securityContext } of pod.spec?.containers ?? []) {
      assert.equal(securityContext?.runAsUser, 107)
      assert.equal(securityContext?.runAsGroup, 107)
    }
  })

  it('locks every container down and gives it the resources of a worker', () => {
    for (const container of every(of())) {
      assert.deepEqual(
        container.securityContext,
        {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          runAsNonRoot: true,
          runAsUser: 107,
          runAsGroup: 107,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        container.name,
      )
      assert.deepEqual(container.resources, resources, container.name)
      assert.equal(container.terminationMessagePolicy, 'FallbackToLogsOnError', container.name)
    }
  })

  it('runs nothing of the image and does not depend on what it says of itself', () => {
    const [importer, server] = of().spec?.containers ?? []
    const shared = { name: 'shared-volume', mountPath: '/shared' }
    assert.deepEqual(server?.command?.slice(0, 2), ['/shared/busybox', 'sh'])
    assert.equal(server.args, undefined)
    assert.equal(server.workingDir, '/')
    assert.deepEqual(server.volumeMounts, [shared])
    assert.equal(server.imagePullPolicy, undefined, 'that of the kubelet for this tag')
    assert.ok(importer?.volumeMounts?.some(({ name, mountPath }) => name === shared.name && mountPath === '/shared'))
  })

  it('agrees with the importer on the two files', () => {
    const pod = of()
    const script = pod.spec?.containers[1]?.command?.at(-1) ?? ''
    for (const name of ['IMPORTER_READY_FILE', 'IMPORTER_DONE_FILE']) {
      const path = env(pod)[name] ?? ''
      assert.match(path, /^\/shared\//)
      assert.ok(script.includes(path), name)
    }
    assert.equal(env(pod)['IMPORTER_PULL_METHOD'], 'node')
  })

  it('says the process id to a shell: Kubernetes leaves one of two dollar signs', () => {
    const script = of().spec?.containers[1]?.command?.at(-1) ?? ''
    assert.match(script.replaceAll('$$', '$'), /^echo \$\$ > /)
  })

  it('goes to a node of the architecture that was asked for, where the administrator allows workers', () => {
    const cdi = {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'CDI',
      metadata: { name: 'cdi', uid: 'u', resourceVersion: '1' },
      spec: { workload: { nodeSelector: { 'kubernetes.io/os': 'linux' } } },
    }
    const pod = of({ [annotations.importRegistryArchitecture]: 'arm64' }, { cdi })
    assert.deepEqual(pod.spec?.nodeSelector, { 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'arm64' })
    assert.deepEqual(of({}, { cdi }).spec?.nodeSelector, { 'kubernetes.io/os': 'linux' })
  })

  it('leaves the Secret to the kubelet, which knows logins of registries by their type', () => {
    const pod = of(
      { [annotations.importSecretName]: 'login' },
      { config: cdiConfig({ imagePullSecrets: [{ name: 'a' }] }) },
    )
    assert.deepEqual(pod.spec?.imagePullSecrets, [{ name: 'a' }, { name: 'login' }])
    assert.ok(!('IMPORTER_ACCESS_KEY_ID' in env(pod)))
  })

  it('belongs to its claim', () => {
    assert.equal(of().metadata.ownerReferences?.[0]?.uid, 'uid-prime')
  })

  it('takes the name of an ImageStream for OpenShift to resolve, which needs a pod without an owner', () => {
    const pod = of({ [annotations.importEndpoint]: 'fedora', [annotations.importRegistryImageStream]: 'true' })
    assert.equal(pod.spec?.containers[1]?.image, 'fedora')
    assert.equal(pod.metadata.ownerReferences, undefined)
    assert.equal(pod.metadata.annotations?.['alpha.image.policy.openshift.io/resolve-names'], '*')
    assert.equal(of().metadata.annotations?.['alpha.image.policy.openshift.io/resolve-names'], undefined)
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
