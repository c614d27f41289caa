import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import {
  clonerPaths,
  parseClonerEnv,
  renderClonerEnv,
  sizeDetectionExitCodes,
  sizeDetectionReason,
} from '../../../src/api/cloner-env.ts'
import type { ClonerEnv } from '../../../src/api/cloner-env.ts'

const env: ClonerEnv = {
  volumeMode: 'block',
  source: clonerPaths.device,
  contentType: 'kubevirt',
  uploadUrl: 'https://cdi-upload-tmp-pvc-1.ns.svc:8443/v1beta1/upload',
  tlsKeyFile: clonerPaths.tlsKeyFile,
  tlsCertFile: clonerPaths.tlsCertFile,
  serverCaFile: clonerPaths.serverCaFile,
  preallocation: true,
  ownerUid: '1234',
}

describe('environment of a cloner', () => {
  it('is read as it was rendered', () => {
    for (const one of [
      env,
      { ...env, volumeMode: 'filesystem', contentType: 'archive', preallocation: false },
    ] as ClonerEnv[]) {
      const rendered = Object.fromEntries(renderClonerEnv(one).map(({ name, value }) => [name, value]))
      assert.deepEqual(parseClonerEnv(rendered), one)
    }
  })

  it('has the names that clients see today', () => {
    const names = renderClonerEnv(env).map(({ name }) => name)
    for (const name of ['UPLOAD_URL', 'OWNER_UID', 'PREALLOCATION', 'VOLUME_MODE', 'MOUNT_POINT']) {
      assert.ok(names.includes(name), name)
    }
  })
})

describe('exit code of a size detection', () => {
  it('stands for a reason, and for ErrUnknown if nobody knows it', () => {
    assert.deepEqual(
      Object.values(sizeDetectionExitCodes).map((code) => [code, sizeDetectionReason(code)]),
      [
        [1, 'ErrBadArguments'],
        [2, 'ErrInvalidFile'],
        [3, 'ErrInvalidPath'],
        [4, 'ErrBadTermFile'],
        [5, 'ErrUnknown'],
      ],
    )
    assert.equal(sizeDetectionReason(137), 'ErrUnknown')
  })
})
