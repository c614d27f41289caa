/** curl as clients use it, against a proxy under test. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { tempDir } from '../fixtures/server-process.ts'
import type { ProxyUnderTest } from './proxy-under-test.ts'

export interface CurlAnswer {
  /** curl's own exit code. */
  readonly exitCode: number
  /** 0 if there was no answer. */
  readonly status: number
  /** Of the last answer, names in lower case; repeated ones joined by commas. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly stderr: string
}

export interface CurlOptions {
  readonly input?: Buffer | string
  readonly authorization?: string
}

/** Runs curl for a path of the proxy. */
export async function curl(
  proxy: Pick<ProxyUnderTest, 'url' | 'caFile'>,
  path: string,
  args: readonly string[],
  { input, authorization }: CurlOptions = {},
): Promise<CurlAnswer> {
  await using dir = await tempDir('curl')
  const bodyFile = join(dir.path, 'body')
  const result = await execa(
    'curl',
    [
      '-sS',
      '--cacert',
      proxy.caFile,
      '--max-time',
      '60',
      '-o',
      bodyFile,
      '-w',
      '%{http_code}\n%{header_json}',
      ...(authorization === undefined ? [] : ['-H', `Authorization: ${authorization}`]),
      ...args,
      proxy.url + path,
    ],
    { reject: false, stripFinalNewline: false, ...(input === undefined ? {} : { input }) },
  )
  const newline = result.stdout.indexOf('\n')
  const json = JSON.parse(result.stdout.slice(newline + 1) || '{}') as Record<string, string[]>
  const headers = Object.fromEntries(
    Object.entries(json).map(([name, values]) => [name.toLowerCase(), values.join(', ')]),
  )
  return {
    exitCode: result.exitCode ?? -1,
    status: Number(result.stdout.slice(0, newline)),
    headers,
    body: await readFile(bodyFile, 'utf8').catch(() => ''),
    stderr: result.stderr,
  }
}
