/** Pods for looking into volumes from where users look: inside. */
import type { ClusterUnderTest } from './cluster-under-test.ts'

export interface PodVolume {
  readonly claim: string
  /** A directory, or for a Block claim the path of the device. */
  readonly at: string
  readonly mode?: 'Filesystem' | 'Block'
}

export interface PodOptions {
  readonly cluster: Pick<ClusterUnderTest, 'kubectl' | 'image'>
  readonly namespace: string
  readonly name: string
  /** For `/bin/sh -c`; runs as uid and fsGroup 107 with no capability, on a read-only root. */
  readonly script: string
  readonly volumes?: readonly PodVolume[]
}

/** The pod as it is created. */
export function podManifest({ cluster, namespace, name, script, volumes = [] }: PodOptions): object {
  const named = volumes.map((volume, index) => ({ ...volume, name: `volume-${index}` }))
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      securityContext: {
        runAsUser: 107,
        runAsGroup: 107,
        runAsNonRoot: true,
        fsGroup: 107,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'main',
          image: cluster.image,
          imagePullPolicy: 'IfNotPresent',
          command: ['/bin/sh', '-c', script],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          volumeMounts: named.filter(({ mode }) => mode !== 'Block').map(({ name, at }) => ({ name, mountPath: at })),
          volumeDevices: named.filter(({ mode }) => mode === 'Block').map(({ name, at }) => ({ name, devicePath: at })),
        },
      ],
      volumes: named.map(({ name, claim }) => ({ name, persistentVolumeClaim: { claimName: claim } })),
    },
  }
}

/** Runs the script to its end and returns what it printed; an error with that if it failed. The pod is deleted. */
export async function runPod(options: PodOptions): Promise<string> {
  const { kubectl } = options.cluster
  const { namespace, name } = options
  await kubectl.create(podManifest(options))
  const pod = await kubectl.waitUntil({ kind: 'pod', name, namespace }, ({ status }) =>
    ['Succeeded', 'Failed'].includes(status?.phase),
  )
  const output = await kubectl.run(['logs', name, '-n', namespace])
  await kubectl.delete('pod', name, namespace)
  if (pod.status.phase === 'Failed') throw new Error(`pod ${name} failed: ${output}`)
  return output
}
