/** From the environment and the mounts of a clone source pod to what it works with; nothing else reads them. */
import { readFile } from 'node:fs/promises'
import { parseClonerEnv } from '../../src/api/cloner-env.ts'
import type { ClonerEnv } from '../../src/api/cloner-env.ts'
import { CdiError } from '../../src/errors.ts'

export interface ClonerConfig extends Pick<
  ClonerEnv,
  'volumeMode' | 'source' | 'contentType' | 'preallocation' | 'ownerUid'
> {
  /** Of the upload server. */
  readonly url: URL
  /** PEM texts. */
  readonly identity: { readonly key: string; readonly cert: string; readonly serverCa: string }
}

/** Reads what the controller has told this pod. Throws CDI_USAGE for what makes no sense. */
export async function loadClonerConfig(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ClonerConfig> {
  const env = parseClonerEnv(environment)
  const { volumeMode, source, contentType, preallocation, ownerUid } = env
  if (source === '') throw new CdiError('CDI_USAGE', 'MOUNT_POINT does not tell where the source is')
  return {
    volumeMode,
    source,
    contentType,
    preallocation,
    ownerUid,
    url: urlOf(env.uploadUrl),
    identity: {
      key: await readText('CLIENT_KEY_FILE', env.tlsKeyFile),
      cert: await readText('CLIENT_CERT_FILE', env.tlsCertFile),
      serverCa: await readText('SERVER_CA_FILE', env.serverCaFile),
    },
  }
}

function urlOf(text: string): URL {
  const url = URL.parse(text)
  if (url?.protocol !== 'https:') throw new CdiError('CDI_USAGE', `UPLOAD_URL is no https address: ${text}`)
  return url
}

async function readText(variable: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `${variable} cannot be read: ${path}`, { cause })
  }
}
