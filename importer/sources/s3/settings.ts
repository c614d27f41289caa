/**
 * Whether anything says where AWS credentials are. Only then the SDK is asked for them: without, it would end at the
 * metadata service of the machine, which answers nobody for seconds where there is none.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

export type Environment = Readonly<Record<string, string | undefined>>

/** What a profile holds that leads to credentials; a region alone does not. */
const credentialSettings =
  /^(?:aws_access_key_id|role_arn|credential_process|credential_source|sso_session|sso_start_url|login_session|web_identity_token_file)$/

/** True if variables, web identity, a container's service or a profile tell of credentials. */
export async function tellsOfCredentials(environment: Environment): Promise<boolean> {
  const has = (name: string): boolean => Boolean(environment[name])
  if (has('AWS_PROFILE') || has('AWS_CONTAINER_CREDENTIALS_FULL_URI')) return true
  if (has('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI')) return true
  if (has('AWS_ACCESS_KEY_ID') && has('AWS_SECRET_ACCESS_KEY')) return true
  if (has('AWS_WEB_IDENTITY_TOKEN_FILE') && has('AWS_ROLE_ARN')) return true
  const home = environment['HOME'] ?? homedir()
  const files = [
    environment['AWS_SHARED_CREDENTIALS_FILE'] ?? join(home, '.aws', 'credentials'),
    environment['AWS_CONFIG_FILE'] ?? join(home, '.aws', 'config'),
  ]
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')))
  return texts.some(defaultProfileHasCredentials)
}

/** True if the default profile of an ini file names credentials. */
export function defaultProfileHasCredentials(text: string): boolean {
  let inDefault = false
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*(?<name>[^\]]*?)\s*\]/.exec(line)?.groups?.['name']
    if (section !== undefined) inDefault = section === 'default' || /^profile\s+"?default"?$/.test(section)
    const name = /^(?<name>\w+)\s*=\s*\S/.exec(line)?.groups?.['name']
    if (inDefault && name !== undefined && credentialSettings.test(name.toLowerCase())) return true
  }
  return false
}

/**
 * True if the role of the machine may be used where nothing else is configured. Not in a pod: the node's role is not that
 * of whoever made the DataVolume. Pods get roles by web identity or from a container's service.
 */
export function mayUseMachineRole(environment: Environment): boolean {
  const disabled = environment['AWS_EC2_METADATA_DISABLED']
  return !environment['KUBERNETES_SERVICE_HOST'] && (disabled === undefined || disabled === 'false' || disabled === '')
}
