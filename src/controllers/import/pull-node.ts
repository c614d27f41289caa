/**
 * The parts of an importer pod whose image is pulled by the kubelet (contract/import.md §12). The user's image becomes a
 * container beside the importer, and since both share their process namespace the importer reads the disk through
 * `/proc/<pid>/root` (docs/design/0005). Nothing of the image is ever run: it may hold a disk and no program, and it is
 * not ours. All that its container runs is a static shell, which the init container copies from the importer's image.
 */
import { workerPaths } from '../../api/podenv.ts'
import type { Container, PodSpec, Volume } from '../../api/kinds.ts'
import type { ImportOrder } from '../shared/import-source.ts'
import { imageOfUrl } from './image-reference.ts'

/** Where the importer's image has a statically linked busybox (Debian's busybox-static). */
const busyboxInImage = '/usr/bin/busybox'
const busybox = `${workerPaths.sharedDirectory}/busybox`

const sharedVolume = 'shared-volume'
const sharedMount = { name: sharedVolume, mountPath: workerPaths.sharedDirectory }

/** Room for busybox, which is two MiB, and the two files. */
const sharedLimit = '16Mi'

/**
 * Says its process id, all at once, then waits for the importer to be done. A container that is started again says its new
 * id; one that is told to stop ends by default, since it is not the first process of its namespace. Kubernetes makes `$`
 * of `$$` in commands.
 */
const wait = [
  `echo $$$$ > ${workerPaths.readyFile}.new`,
  `${busybox} mv ${workerPaths.readyFile}.new ${workerPaths.readyFile}`,
  `until [ -e ${workerPaths.doneFile} ]; do ${busybox} sleep 1; done`,
].join(' && ')

/** Whether the kubelet is to pull the image. */
export function isPulledByNode({ pullMethod }: ImportOrder): boolean {
  return pullMethod === 'node'
}

/** What is different in a pod whose image the kubelet pulls. */
export interface NodePullParts {
  readonly initContainer: Container
  readonly server: Container
  readonly volume: Volume
  /** Of the importer. */
  readonly mount: NonNullable<Container['volumeMounts']>[number]
  readonly nodeSelector: NonNullable<PodSpec['nodeSelector']>
  readonly pullSecrets: NonNullable<PodSpec['imagePullSecrets']>
}

/**
 * @param order of the claim
 * @param worker what all containers of the pod have in common: security, resources, last words
 * @param image the importer's
 */
export function nodePullParts({
  order,
  worker,
  image,
}: {
  order: ImportOrder
  worker: Omit<Container, 'name'>
  image: Pick<Container, 'image' | 'imagePullPolicy'>
}): NodePullParts {
  return {
    initContainer: {
      ...worker,
      ...image,
      name: 'init',
      // A pod that lost its sandbox comes by here again.
      command: ['/usr/bin/cp', '--remove-destination', busyboxInImage, busybox],
      volumeMounts: [sharedMount],
    },
    server: {
      ...worker,
      name: 'server',
      image: imageOfUrl(order.endpoint),
      command: [busybox, 'sh', '-c', wait],
      // That of the image may be closed to this user.
      workingDir: '/',
      volumeMounts: [sharedMount],
    },
    volume: { name: sharedVolume, emptyDir: { sizeLimit: sharedLimit } },
    mount: sharedMount,
    nodeSelector: order.architecture ? { 'kubernetes.io/arch': order.architecture } : {},
    // The kubelet takes those of type dockerconfigjson and passes over others.
    pullSecrets: order.secretName ? [{ name: order.secretName }] : [],
  }
}
