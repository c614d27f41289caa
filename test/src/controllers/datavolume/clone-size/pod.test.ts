import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../../src/api/names.ts'
import type { Pod } from '../../../../../src/api/kinds.ts'
import { mayWrite } from '../../../../../src/controllers/clone/source-use.ts'
import { renderSizeDetectionPod } from '../../../../../src/controllers/datavolume/clone-size/pod.ts'
import type { SizeDetectionPodInput } from '../../../../../src/controllers/datavolume/clone-size/pod.ts'
import type { NewObject } from '../../../../../src/kube/object.ts'
import { cdiConfig } from '../../fixtures.ts'
import { cloneOf, resources, sourceClaim } from './seen.ts'

function rendered(facts: Partial<SizeDetectionPodInput> = {}): NewObject<Pod> {
  return renderSizeDetectionPod({
    dataVolume: cloneOf(),
    source: sourceClaim(),
    settings: { image: 'cdi-importer:1', pullPolicy: 'IfNotPresent', verbosity: 3, installer: { partOf: 'hco' } },
    config: cdiConfig({ defaultPodResourceRequirements: resources }),
    cdi: undefined,
    ...facts,
  })
}

describe('the size detection pod', () => {
  it('has the metadata of the recordings', () => {
    assert.deepEqual(rendered().metadata, {
      name: 'size-detection-uid-src',
      namespace: 'vms',
      annotations: { 'linkerd.io/inject': 'disabled', 'sidecar.istio.io/inject': 'false' },
      labels: { app: 'containerized-data-importer', 'cdi.kubevirt.io': 'importer' },
      ownerReferences: [
        {
          apiVersion: 'cdi.kubevirt.io/v1beta1',
          kind: 'DataVolume',
          name: 'dv',
          uid: 'uid-dv',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    })
  })

  it('has the container of the recordings, but for its command and a mount that only reads', () => {
    assert.deepEqual(rendered().spec?.containers, [
      {
        args: ['-image-path', '/data/disk.img'],
        command: ['/usr/bin/cdi', 'size-detection'],
        image: 'cdi-importer:1',
        imagePullPolicy: 'IfNotPresent',
        name: 'size-detection-volume',
        resources,
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          runAsNonRoot: true,
          runAsUser: 107,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        volumeMounts: [{ mountPath: '/data', name: 'cdi-data-vol', readOnly: true }],
      },
    ])
  })

  it('is restarted on failure, holds no token and keeps to the restricted profile', () => {
    assert.deepEqual(
      { ...rendered().spec, containers: [] },
      {
        automountServiceAccountToken: false,
        containers: [],
        enableServiceLinks: false,
        restartPolicy: 'OnFailure',
        securityContext: { fsGroup: 107, seccompProfile: { type: 'RuntimeDefault' } },
        volumes: [{ name: 'cdi-data-vol', persistentVolumeClaim: { claimName: 'src' } }],
      },
    )
  })

  it('is in nobody’s way: other clones of the source do not take it for a writer', () => {
    assert.equal(mayWrite(rendered() as Pod, 'src'), false)
  })

  it('says whose it is in another namespace, where nobody there can own it', () => {
    const source = sourceClaim()
    const { metadata } = rendered({ source: { ...source, metadata: { ...source.metadata, namespace: 'golden' } } })
    assert.equal(metadata.namespace, 'golden')
    assert.equal(metadata.ownerReferences, undefined)
    assert.equal(metadata.annotations?.[annotations.ownedByDataVolume], 'vms/dv')
  })

  it('takes its priority from the DataVolume, and nothing from what once filled the source', () => {
    const source = sourceClaim({
      annotated: {
        [annotations.podPriorityClassName]: 'of-the-import',
        [annotations.podServiceAccountName]: 'importer',
        [annotations.populatorKind]: 'VolumeImportSource',
        [annotations.selectedNode]: 'node-1',
        [annotations.networks]: 'lan',
      },
    })
    const pod = rendered({ source, dataVolume: cloneOf({ priorityClassName: 'of-the-clone' }) })
    assert.equal(pod.spec?.priorityClassName, 'of-the-clone')
    assert.equal(pod.spec.serviceAccountName, undefined)
    assert.equal(pod.spec.automountServiceAccountToken, false)
    assert.equal(pod.spec.nodeName, undefined)
    assert.equal(pod.metadata.annotations?.[annotations.networks], undefined)
    assert.equal(rendered({ source }).spec?.priorityClassName, undefined)
  })

  it('runs where the installation wants its workloads, with its pull secrets', () => {
    const toleration = { key: 'storage', operator: 'Exists' }
    const { spec } = rendered({
      config: cdiConfig({ imagePullSecrets: [{ name: 'pull' }] }),
      cdi: {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'CDI',
        metadata: { name: 'cdi', uid: 'uid-cdi', resourceVersion: '1' },
        spec: { workload: { nodeSelector: { 'kubernetes.io/os': 'linux' }, tolerations: [toleration] } },
      },
    })
    assert.deepEqual(spec?.nodeSelector, { 'kubernetes.io/os': 'linux' })
    assert.deepEqual(spec.tolerations, [toleration])
    assert.deepEqual(spec.imagePullSecrets, [{ name: 'pull' }])
  })
})
