import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Busboy } from '@fastify/busboy'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import { takeFormFile } from '../../../importer/upload/form.ts'
import { MultipartReader, parseParameterized } from '../../../importer/upload/multipart.ts'

const boundary = '----x'

interface Part {
  readonly name: string
  readonly filename?: string
  readonly content: Buffer
}

function formOf(parts: readonly Part[], mark = boundary): Buffer {
  const pieces = parts.flatMap(({ name, filename, content }) => [
    Buffer.from(
      `--${mark}\r\nContent-Disposition: form-data; name="${name}"` +
        `${filename === undefined ? '' : `; filename="${filename}"`}\r\n` +
        'Content-Type: application/octet-stream\r\n\r\n',
    ),
    content,
    Buffer.from('\r\n'),
  ])
  return Buffer.concat([...pieces, Buffer.from(`--${mark}--\r\n`)])
}

/** Cuts `whole` at the given places (taken modulo its length). */
async function* cutAt(whole: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  const at = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const to of [...at, whole.length]) {
    if (to > from) yield whole.subarray(from, to)
    from = to
  }
}

async function collect(content: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of content) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

async function fileOf(
  whole: Buffer,
  cuts: readonly number[] = [],
  type = `multipart/form-data; boundary=${boundary}`,
): Promise<Buffer> {
  let file: Buffer | undefined
  await takeFormFile({
    contentType: type,
    body: cutAt(whole, cuts),
    take: async (content) => {
      file = await collect(content)
    },
  })
  assert.ok(file !== undefined)
  return file
}

/** Content in which line breaks, dashes and pieces of the boundary stand where they hurt most. */
const content = fc
  .array(
    fc.oneof(
      fc.constantFrom('\r\n', '\r', '\n', '--', '-', boundary, `\r\n--${boundary}x`, `\r\n--${boundary}`.slice(0, -1)),
      fc.string(),
    ),
    {
      maxLength: 12,
    },
  )
  .map((pieces) => Buffer.from(pieces.join('')))
  .filter((bytes) => !new RegExp(`\r\n--${boundary}(--|[ \t]*(\r|$))`).test(`\r\n${bytes.toString('latin1')}\r\n`))
const cuts = fc.array(fc.nat({ max: 4000 }), { maxLength: 40 })

const isMalformed = (error: unknown): boolean => error instanceof CdiError && error.code === 'CDI_UPLOAD_MALFORMED'

describe('multipart reader', () => {
  it('finds every part, whatever is in it and however the body is cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(content, { minLength: 1, maxLength: 4 }), cuts, async (contents, at) => {
        const whole = formOf(contents.map((bytes, index) => ({ name: `n${index}`, content: bytes })))
        const reader = new MultipartReader({ body: cutAt(whole, at), boundary })
        const found: Buffer[] = []
        for (let headers = await reader.next(); headers !== undefined; headers = await reader.next()) {
          assert.equal(headers.get('content-type'), 'application/octet-stream')
          found.push(await collect(reader.content()))
        }
        assert.deepEqual(found, contents)
      }),
    )
  })

  it('agrees with busboy on the content of files', async () => {
    await fc.assert(
      fc.asyncProperty(content, cuts, async (bytes, at) => {
        // Lookalikes of a delimiter are content by RFC 2046, but not for busboy.
        fc.pre(!bytes.includes(`--${boundary}`))
        const whole = formOf([
          { name: 'a', content: Buffer.from('1') },
          { name: 'file', filename: 'd', content: bytes },
        ])
        assert.deepEqual(await fileOf(whole, at), await fileByBusboy(whole, at))
      }),
      { numRuns: 50 },
    )
  })

  it('goes on with the next part if the reader leaves one in the middle', async () => {
    const whole = formOf([
      { name: 'a', content: Buffer.from('first'.repeat(1000)) },
      { name: 'b', content: Buffer.from('second') },
    ])
    const reader = new MultipartReader({ body: cutAt(whole, [1, 500, 600]), boundary })
    await reader.next()
    for await (const _ of reader.content()) break
    await reader.next()
    assert.equal((await collect(reader.content())).toString(), 'second')
    assert.equal(await reader.next(), undefined)
  })

  it('takes a preamble, blanks behind the boundary, an epilogue, and parts without headers', async () => {
    const whole = Buffer.from(
      `To whom it may concern\r\n--${boundary} \t\r\n\r\nbare\r\n--${boundary}\r\nA: b\r\n c\r\n\r\n\r\n--${boundary}--bye`,
    )
    const reader = new MultipartReader({ body: cutAt(whole, [3, 30, 31, 32, 33, 34]), boundary })
    assert.deepEqual(await reader.next(), new Map())
    assert.equal((await collect(reader.content())).toString(), 'bare')
    assert.deepEqual(await reader.next(), new Map([['a', 'b c']]))
    assert.equal((await collect(reader.content())).length, 0)
    assert.equal(await reader.next(), undefined)
    await reader.drain()
  })

  it('refuses headers that do not end, without keeping them all', async () => {
    const endless = (async function* () {
      yield Buffer.from(`--${boundary}\r\n`)
      for (let i = 0; i < 1000; i++) yield Buffer.alloc(1024, 'x')
      assert.fail('the whole body was read')
    })()
    const reader = new MultipartReader({ body: endless, boundary })
    await assert.rejects(reader.next(), isMalformed)
  })
})

describe('form with a file', () => {
  const disk = Buffer.from('the disk')
  const good = formOf([
    { name: 'note', content: Buffer.from('hi') },
    { name: 'file', filename: 'disk.img', content: disk },
  ])

  it('gives its content, with parts before and behind', async () => {
    const whole = formOf([
      { name: 'files', content: Buffer.from('not this') },
      { name: 'file', content: disk },
      { name: 'other', filename: 'x', content: Buffer.from('nor this') },
    ])
    assert.deepEqual(await fileOf(whole), disk)
  })

  const types: readonly string[] = [
    `Multipart/Form-Data; charset=utf-8; Boundary="${boundary}"`,
    `multipart/form-data;boundary=${boundary};x=y`,
  ]
  for (const type of types) it(`takes ${type}`, async () => assert.deepEqual(await fileOf(good, [], type), disk))

  const malformed: readonly (readonly [string, Buffer, string?])[] = [
    ['no content type', good, ''],
    ['another type', good, 'application/octet-stream'],
    ['another multipart', good, `multipart/mixed; boundary=${boundary}`],
    ['no boundary', good, 'multipart/form-data'],
    ['an empty boundary', good, 'multipart/form-data; boundary=""'],
    ['a boundary that is too long', good, `multipart/form-data; boundary=${'b'.repeat(71)}`],
    ['a boundary that is not there', good, 'multipart/form-data; boundary=other'],
    ['an empty body', Buffer.alloc(0)],
    ['no parts', Buffer.from(`--${boundary}--\r\n`)],
    ['no part file', formOf([{ name: 'disk', content: disk }])],
    [
      'two parts file',
      formOf([
        { name: 'file', content: disk },
        { name: 'file', content: disk },
      ]),
    ],
    ['a part file that is an attachment', Buffer.from(good.toString().replaceAll('form-data', 'attachment'))],
    ...Array.from(
      { length: good.length - 3 },
      (_, length) => [`its first ${length} bytes only`, good.subarray(0, length)] as const,
    ),
  ]
  for (const [what, body, type] of malformed) {
    it(`is malformed with ${what}`, async () => {
      await assert.rejects(
        takeFormFile({
          contentType: type ?? `multipart/form-data; boundary=${boundary}`,
          body: cutAt(body, [20, 40]),
          take: async (content) => void (await collect(content)),
        }),
        isMalformed,
      )
    })
  }

  it('never hangs or fails otherwise, whatever is in it', async () => {
    const soup = fc.array(
      fc.oneof(
        fc.constantFrom(
          `--${boundary}`,
          '\r\n',
          '--',
          '\r\n\r\n',
          'Content-Disposition: form-data; name="file"',
          'name=',
          '"',
          '\\',
        ),
        fc.string(),
      ),
      { maxLength: 30 },
    )
    await fc.assert(
      fc.asyncProperty(soup, cuts, async (pieces, at) => {
        await fileOf(Buffer.from(pieces.join('')), at).catch((error: unknown) =>
          assert.ok(isMalformed(error), String(error)),
        )
      }),
    )
  })

  it('throws what the one who takes the file throws, and reads no further', async () => {
    const body = (async function* () {
      yield good.subarray(0, -10)
      assert.fail('read on')
    })()
    await assert.rejects(
      takeFormFile({
        contentType: `multipart/form-data; boundary=${boundary}`,
        body,
        take: () => Promise.reject(new Error('full')),
      }),
      /full/,
    )
  })
})

describe('values with parameters', () => {
  const rows: readonly (readonly [string, string, Readonly<Record<string, string>>])[] = [
    ['form-data; name="file"; filename="a;b=c.img"', 'form-data', { name: 'file', filename: 'a;b=c.img' }],
    ['Form-Data ; NAME = file', 'form-data', { name: 'file' }],
    [
      String.raw`form-data; filename="a\"b\\c"; name="file"`,
      'form-data',
      { filename: String.raw`a"b\c`, name: 'file' },
    ],
    ['form-data; name="x"; name="file"', 'form-data', { name: 'x' }],
    ['form-data; name="open', 'form-data', { name: '' }],
    ['', '', {}],
  ]
  for (const [text, value, parameters] of rows) {
    it(`are read from ${text}`, () =>
      assert.deepEqual(parseParameterized(text), { value, parameters: new Map(Object.entries(parameters)) }))
  }
})

async function fileByBusboy(whole: Buffer, at: readonly number[]): Promise<Buffer> {
  const form = new Busboy({ headers: { 'content-type': `multipart/form-data; boundary=${boundary}` } })
  const finished = Promise.withResolvers<void>()
  const chunks: Buffer[] = []
  form.on('error', finished.reject)
  form.on('finish', finished.resolve)
  form.on('file', (name, stream) =>
    stream.on('data', (chunk: Buffer) => (name === 'file' ? chunks.push(Buffer.from(chunk)) : 0)),
  )
  for await (const piece of cutAt(whole, at)) form.write(piece)
  form.end()
  await finished.promise
  return Buffer.concat(chunks)
}
