// @ts-check
/** Puts the parts of the page together. */
import { setUpAccess } from './access.js'
import { explain, PageApi } from './api.js'
import { element } from './elements.js'
import { UploadPanel } from './upload-panel.js'
import { VolumeList } from './volumes.js'

/** @type {VolumeList | undefined} */
let volumes
const announcer = element('announcer')

/** @param {string} text for screen readers */
function announce(text) {
  announcer.textContent = text
}

const panel = new UploadPanel({ announce })

setUpAccess({
  explain,
  async onEnter(access) {
    if (access.kind === 'cluster') {
      const api = new PageApi(access)
      const list = new VolumeList({
        api,
        namespace: access.namespace,
        announce,
        onItems: (items) => panel.showVolumes(items),
        onChoose: (name) => panel.choose(name),
      })
      await list.start()
      volumes = list
      panel.enter(access, api)
    } else {
      panel.enter(access, undefined)
    }
    const isCluster = access.kind === 'cluster'
    element('main').classList.add('signed-in')
    element('main').classList.toggle('with-volumes', isCluster)
    element('volumes').hidden = !isCluster
    const summary = element('access-summary')
    summary.textContent = isCluster
      ? `Namespace ${access.namespace}`
      : `For claim ${access.upload.pvcName} in namespace ${access.upload.namespace}, good until ${new Date(access.upload.expiresMs).toLocaleTimeString()}`
    summary.hidden = false
    element('upload-title').focus()
  },
  onLeave() {
    volumes?.stop()
    volumes = undefined
    panel.leave()
    element('volumes').hidden = true
    element('volumes-error').hidden = true
    element('main').classList.remove('signed-in', 'with-volumes')
  },
})
