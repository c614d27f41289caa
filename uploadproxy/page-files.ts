/**
 * The web page: a handful of files, read once and kept in memory, with headers under which nothing but these files can be
 * loaded or run by it.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

export interface PageFile {
  readonly name: string
  readonly contentType: string
  readonly body: Buffer
  /** With quotes, as in the header. */
  readonly etag: string
}

const contentTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
}

/** For everything below /page. */
export const pageHeaders: Readonly<Record<string, string>> = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
}

/** Reads the files of a directory whose kind a page may consist of; subdirectories and everything else are left out. */
export async function loadPage(directory: string): Promise<PageFile[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isFile() && contentTypes[extname(entry.name)]).map(({ name }) => name)
  return Promise.all(
    names.sort().map(async (name) => {
      const body = await readFile(join(directory, name))
      const etag = `"${createHash('sha256').update(body).digest('base64url')}"`
      return { name, body, etag, contentType: contentTypes[extname(name)] ?? '' }
    }),
  )
}

/** Serves the page below `/page/`; whoever comes to `/` is sent there. */
export function servePage(app: FastifyInstance, files: readonly PageFile[]): void {
  const byName = new Map(files.map((file) => [file.name, file]))
  const toPage = async (_: FastifyRequest, reply: FastifyReply): Promise<void> => {
    await reply.headers(pageHeaders).redirect('/page/', 302)
  }
  const serve = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const { file: asked = '' } = request.params as { file?: string }
    const file = byName.get(asked === '' ? 'index.html' : asked)
    void reply.headers(pageHeaders)
    if (file === undefined) return reply.code(404).type('text/plain; charset=utf-8').send('there is no such page\n')
    // Asked for again each time, and mostly answered with 304: a new version is seen at once.
    void reply.headers({ ETag: file.etag, 'Cache-Control': 'no-cache' })
    if (isKnown(request.headers['if-none-match'], file.etag)) return reply.code(304).send()
    return reply.type(file.contentType).send(file.body)
  }
  app.route({ method: ['GET', 'HEAD'], url: '/', handler: toPage })
  app.route({ method: ['GET', 'HEAD'], url: '/page', handler: toPage })
  app.route({ method: ['GET', 'HEAD'], url: '/page/', handler: serve })
  app.route({ method: ['GET', 'HEAD'], url: '/page/:file', handler: serve })
}

/** Whether the client has this version (RFC 9110 §13.1.2, weak comparison). */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  return ifNoneMatch.trim() === '*' || ifNoneMatch.split(',').some((each) => each.trim().replace(/^W\//, '') === etag)
}
