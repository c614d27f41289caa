import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { ChunkedFraming, LengthFraming } from '../../../../importer/sources/http/framing.ts'
import type { Framing } from '../../../../importer/sources/http/framing.ts'
import { headEnd, parseLength, parseResponseHead } from '../../../../importer/sources/http/head.ts'

/** What a framing makes of a wire that delivers `pieces`. */
function readAll(framing: Framing, pieces: readonly Buffer[]): { payload: Buffer; extra: Buffer } {
  const payloads: Buffer[] = []
  const extra: Buffer[] = []
  for (const piece of pieces) {
    let rest: Buffer | undefined = piece
    while (rest !== undefined && rest.length > 0 && !framing.done) {
      const framed = framing.take(rest)
      if (framed.payload !== undefined) payloads.push(framed.payload)
      rest = framed.rest
    }
    if (rest !== undefined) extra.push(rest)
  }
  return { payload: Buffer.concat(payloads), extra: Buffer.concat(extra) }
}

function cutAt(wire: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (wire.length + 1)).sort((a, b) => a - b), wire.length]
  return places.slice(1).map((end, index) => wire.subarray(places[index], end))
}

const bytes = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((array) => Buffer.from(array))

describe('framing of bodies', () => {
  it('reads chunked bodies however the network cuts them', () => {
    fc.assert(
      fc.property(fc.array(bytes), fc.array(fc.nat(), { maxLength: 20 }), fc.boolean(), (chunks, cuts, fancy) => {
        const wire = Buffer.concat([
          ...chunks.flatMap((chunk) => [
            Buffer.from(`${chunk.length.toString(16)}${fancy ? ';name="value"' : ''}\r\n`),
            chunk,
            Buffer.from('\r\n'),
          ]),
          Buffer.from(fancy ? '0\r\nTrailer: x\r\n\r\n' : '0\r\n\r\n'),
        ])
        const framing = new ChunkedFraming()
        const { payload, extra } = readAll(framing, cutAt(wire, cuts))
        assert.deepEqual(payload, Buffer.concat(chunks))
        assert.equal(framing.done, true)
        assert.equal(extra.length, 0)
      }),
    )
  })

  it('does not take a chunked body without its last chunk for complete', () => {
    const framing = new ChunkedFraming()
    readAll(framing, [Buffer.from('5\r\nhello\r\n')])
    assert.equal(framing.done, false)
  })

  it('refuses chunks that are longer than they said, or have no size', () => {
    assert.throws(() => readAll(new ChunkedFraming(), [Buffer.from('2\r\nhello\r\n0\r\n\r\n')]), SyntaxError)
    assert.throws(() => readAll(new ChunkedFraming(), [Buffer.from('-5\r\nhello')]), SyntaxError)
    assert.throws(() => readAll(new ChunkedFraming(), [Buffer.alloc(5000, '0')]), SyntaxError)
  })

  it('ends a body of known length at its length, whatever follows', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 5 }), (body, cuts) => {
        const framing = new LengthFraming(body.length)
        const wire = Buffer.concat([body, Buffer.from('HTTP/1.1')])
        const { payload, extra } = readAll(framing, cutAt(wire, cuts))
        assert.deepEqual(payload, body)
        assert.equal(extra.toString(), 'HTTP/1.1')
      }),
    )
  })
})

describe('heads of answers', () => {
  it('reads status, reason and headers, and joins repeated headers', () => {
    const head = parseResponseHead(Buffer.from('HTTP/1.1 404 Not Found\r\nA: 1\r\nb:  2 \r\na: 3\r\n\r\n'))
    assert.equal(head.status, 404)
    assert.equal(head.reason, 'Not Found')
    assert.deepEqual(
      [...head.headers],
      [
        ['a', '1, 3'],
        ['b', '2'],
      ],
    )
  })

  it('knows the reason that a server left out', () => {
    assert.equal(parseResponseHead(Buffer.from('HTTP/1.1 503 \r\n\r\n')).reason, 'Service Unavailable')
  })

  it('accepts bare line feeds', () => {
    const bytes = Buffer.from('HTTP/1.0 200 OK\nA: 1\n\nbody')
    assert.equal(bytes.subarray(headEnd(bytes)).toString(), 'body')
    assert.equal(parseResponseHead(bytes.subarray(0, headEnd(bytes))).headers.get('a'), '1')
  })

  for (const broken of [
    'SSH-2.0-OpenSSH\r\n\r\n',
    'HTTP/1.1 200 OK\r\nno colon\r\n\r\n',
    'HTTP/1.1 200 OK\r\n : x\r\n\r\n',
  ]) {
    it(`refuses ${JSON.stringify(broken)}`, () => {
      assert.throws(() => parseResponseHead(Buffer.from(broken)), SyntaxError)
    })
  }

  it('accepts a repeated Content-Length and refuses two different ones', () => {
    assert.equal(parseLength('7, 7'), 7)
    for (const broken of ['7, 8', '-1', '', '1e3', '0x10']) assert.throws(() => parseLength(broken), SyntaxError)
  })
})
