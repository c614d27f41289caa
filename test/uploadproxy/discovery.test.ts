import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { draftPieceType } from '../../importer/upload/resumable/draft-headers.ts'
import { tusChecksumAlgorithms, tusExtensions, tusVersion } from '../../importer/upload/resumable/tus-headers.ts'
import { discoveryHeaders } from '../../uploadproxy/discovery.ts'

describe('what the proxy tells of the resumable protocols', () => {
  it('is what upload servers can in tus', () => {
    assert.deepEqual(discoveryHeaders('tus'), {
      'Tus-Resumable': tusVersion,
      'Tus-Version': tusVersion,
      'Tus-Extension': tusExtensions.join(','),
      'Tus-Checksum-Algorithm': tusChecksumAlgorithms.join(','),
    })
  })

  it('is what upload servers can in the draft', () => {
    assert.deepEqual(discoveryHeaders('resumable'), { 'Accept-Patch': draftPieceType })
  })

  it('is nothing where the server itself has to be asked', () => {
    assert.equal(discoveryHeaders('plain'), undefined)
    assert.equal(discoveryHeaders('ranges'), undefined)
  })
})
