/**
 * Browsers of other origins may upload: everything needs a token that no browser sends by itself, so any origin is as good
 * as any other (contract/upload.md §5.3). The page has no part in this; it is served and called from one origin.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { uploadStateHeader } from '../src/api/upload-env.ts'

const sharedMethods = new Set(['HEAD', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE'])

/** What scripts of other origins may read besides the few headers that they always may: resuming needs them. */
const exposedHeaders = [
  'Location',
  'Upload-Offset',
  'Upload-Length',
  'Upload-Defer-Length',
  'Upload-Expires',
  'Upload-Metadata',
  'Upload-Complete',
  'Upload-Limit',
  'Upload-Draft-Interop-Version',
  'Tus-Resumable',
  'Tus-Version',
  'Tus-Extension',
  'Tus-Max-Size',
  'Tus-Checksum-Algorithm',
  'Content-Range',
  'Content-Digest',
  'Repr-Digest',
  'Retry-After',
  uploadStateHeader,
].join(', ')

/** How long browsers keep the answer to a preflight; most keep it for two hours at most. */
const preflightSeconds = '7200'

export interface Asked {
  readonly method: string
  readonly headers: IncomingHttpHeaders
}

/** Whether a browser asks for leave before it sends the request itself. */
export function isPreflight({ method, headers }: Asked): boolean {
  return method === 'OPTIONS' && Boolean(headers['access-control-request-method'])
}

/** The headers of the answer (200, no body) to a preflight. */
export function preflightHeaders({ headers }: Asked): Record<string, string> {
  const vary = 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'
  const method = headers['access-control-request-method']
  if (!headers.origin || typeof method !== 'string' || !sharedMethods.has(method.toUpperCase())) return { Vary: vary }
  const asked = headers['access-control-request-headers']
  return {
    Vary: vary,
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Allow-Methods': method,
    ...(typeof asked === 'string' && asked !== '' ? { 'Access-Control-Allow-Headers': asked } : {}),
    'Access-Control-Max-Age': preflightSeconds,
  }
}

/** The headers that every other answer bears, good or bad. */
export function corsHeaders({ method, headers }: Asked): Record<string, string> {
  if (!headers.origin || !sharedMethods.has(method)) return { Vary: 'Origin' }
  return { Vary: 'Origin', 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': exposedHeaders }
}
