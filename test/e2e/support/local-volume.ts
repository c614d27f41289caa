/**
 * Volumes of the class without a CSI driver: a directory or a loop device of this machine, which is the embedded cluster's
 * node as well. They are reserved for one claim, as an administrator would do it.
 */
import { mkdir, rm, truncate, writeFile, chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { nodeName, stateDir } from '../../cluster/layout.ts'
import type { PersistentVolume } from '../../../src/api/kinds.ts'
import { classes } from './cluster.ts'
import type { Scene } from './scene.ts'

export interface LocalVolume extends AsyncDisposable {
  readonly name: string
}

export interface LocalVolumeOptions {
  readonly claimName: string
  readonly bytes: number
  readonly volumeMode: 'Filesystem' | 'Block'
}

/** A PersistentVolume that only the claim of this name in the scene's namespace gets. */
export async function localVolume(
  scene: Scene,
  { claimName, bytes, volumeMode }: LocalVolumeOptions,
): Promise<LocalVolume> {
  const name = `${scene.namespace}-${claimName}`
  const directory = join(stateDir(), 'e2e-volumes')
  const path = join(directory, name)
  await mkdir(directory, { recursive: true })
  const device = volumeMode === 'Block' ? await loopDevice(path, bytes) : undefined
  if (!device) {
    await mkdir(path)
    // As a fresh file system made for everybody: the worker is not root and local volumes of directories get no owner.
    await chmod(path, 0o777)
  }
  await scene.createVolume({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: {
      storageClassName: classes.local,
      capacity: { storage: String(bytes) },
      accessModes: ['ReadWriteOnce'],
      volumeMode,
      persistentVolumeReclaimPolicy: 'Retain',
      local: { path: device ?? path },
      claimRef: { kind: 'PersistentVolumeClaim', namespace: scene.namespace, name: claimName },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [nodeName] }] },
          ],
        },
      },
    },
  } satisfies Omit<PersistentVolume, 'metadata'> & { metadata: { name: string } })
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      if (device) await execa('losetup', ['-d', device], { reject: false })
      await rm(path, { recursive: true, force: true })
    },
  }
}

async function loopDevice(path: string, bytes: number): Promise<string> {
  await writeFile(path, '')
  await truncate(path, bytes)
  const { stdout } = await execa('losetup', ['--find', '--show', path])
  return stdout.trim()
}
