/** What every import into a fresh volume has to leave: exactly the disk, sparse, for KubeVirt's user, and nothing else. */
import assert from 'node:assert/strict'
import type { DiskImages } from './images.ts'
import type { Scene } from './scene.ts'

const mebibyte = 1024 * 1024

/** Waits for the DataVolume, then reads its volume. */
export async function arrives(
  scene: Scene,
  images: Pick<DiskImages, 'bytes' | 'sha256'>,
  name: string = 'dv',
): Promise<void> {
  await scene.succeeds(name)
  await assertDisk(scene, images, name)
}

/** Reads the volume of a claim. `images` tells which disk it is. */
export async function assertDisk(
  scene: Scene,
  { bytes, sha256 }: Pick<DiskImages, 'bytes' | 'sha256'>,
  name: string = 'dv',
): Promise<void> {
  const { file, ...found } = await scene.disk(name, bytes)
  assert.equal(found.sha256, sha256)
  assert.ok(found.restIsZero, 'there is something behind the disk')
  assert.ok(found.sizeBytes >= bytes)
  assert.equal(file === undefined, scene.pvc(name)?.spec?.volumeMode === 'Block')
  if (file === undefined) return
  assert.deepEqual([file.uid, file.gid, file.mode], [107, 107, '660'])
  assert.deepEqual(file.beside, ['disk.img'])
  assert.ok(file.allocatedBytes < found.sizeBytes / 2, `not sparse: ${file.allocatedBytes} bytes`)
  assert.equal(found.sizeBytes % mebibyte, 0)
}
