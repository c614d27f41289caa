import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { gzipDecoder } from '../../../importer/formats/gzip.ts'
import { decodeAll, decoderConformance } from '../../conformance/decoder.ts'

decoderConformance({ decoder: gzipDecoder, pack: (data) => gzipSync(data), padding: Buffer.alloc(1000), runs: 60 })

describe('gzip decoder', () => {
  it('refuses data hidden behind zero padding, which zlib would drop without a word', async () => {
    const packed = gzipSync(Buffer.from('a disk'))
    await assert.rejects(decodeAll(gzipDecoder, [Buffer.concat([packed, Buffer.alloc(512), packed])]), {
      code: 'CDI_DECODE_CORRUPT',
    })
  })
})
