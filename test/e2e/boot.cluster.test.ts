/** The proof of all: a disk that was imported boots. */
import { before, describe } from 'node:test'
import { dirname, join } from 'node:path'
import { kinds } from '../../src/api/kinds.ts'
import { stateDir } from '../cluster/layout.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { bootDisk, buildGuest } from '../fixtures/guest.ts'
import type { Guest } from '../fixtures/guest.ts'
import { classes } from './support/cluster.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { startWeb } from './support/web.ts'

const stage = useStage()
let guest: Guest

/** Emulating a machine is slow, and may begin twice; no measure, only a way not to hang for ever. */
const bootPatienceMs = 600_000

before(async () => {
  guest = await buildGuest()
})

/** The file behind a Block volume of the embedded cluster's CSI driver. */
async function fileBehind(scene: Scene, pvcName: string): Promise<string> {
  const volumeName = scene.pvc(pvcName)?.spec?.volumeName ?? ''
  const volume = await scene.cluster.kube.get(kinds.pv, { name: volumeName })
  const handle = volume?.spec?.csi?.volumeHandle
  if (!handle) throw new Error(`volume ${volumeName} is none of the embedded CSI driver's`)
  return join(stateDir(), 'volumes', 'volumes', handle, 'disk')
}

describe('a Debian guest as a compressed qcow2', () => {
  scenario(
    'boots from the volume that it was imported into',
    () => stage().cluster,
    async (scene) => {
      await using web = await startWeb(stage().cluster, { root: dirname(guest.diskFile) })
      await scene.apply(dataVolume('dv').http(web.url('disk.qcow2')).storage('1Gi').on(classes.immediate).mode('Block'))
      await scene.succeeds('dv')
      await bootDisk(guest, await fileBehind(scene, 'dv'), AbortSignal.timeout(bootPatienceMs))
    },
  )
})
