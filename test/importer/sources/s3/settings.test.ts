import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  defaultProfileHasCredentials,
  mayUseMachineRole,
  tellsOfCredentials,
} from '../../../../importer/sources/s3/settings.ts'
import { tempDir } from '../../../fixtures/server-process.ts'

const nobody = { HOME: '/nonexistent' }

describe('settings of AWS', () => {
  it('tell of credentials by variables, web identity, a container service or a profile', async () => {
    const telling: readonly Record<string, string>[] = [
      { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
      { AWS_WEB_IDENTITY_TOKEN_FILE: '/token', AWS_ROLE_ARN: 'arn' },
      { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.170.23/v1/credentials' },
      { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials' },
      { AWS_PROFILE: 'disks' },
    ]
    for (const environment of telling) assert.equal(await tellsOfCredentials({ ...nobody, ...environment }), true)
    const silent: readonly Record<string, string>[] = [
      {},
      { AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL: 'http://store' },
      { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: '' },
      { AWS_ROLE_ARN: 'arn' },
    ]
    for (const environment of silent) assert.equal(await tellsOfCredentials({ ...nobody, ...environment }), false)
  })

  it('tell of credentials by the default profile of the files', async () => {
    await using dir = await tempDir('aws-settings')
    const file = join(dir.path, 'credentials')
    await writeFile(file, '[default]\naws_access_key_id = a\naws_secret_access_key = b\n')
    assert.equal(await tellsOfCredentials({ ...nobody, AWS_SHARED_CREDENTIALS_FILE: file }), true)
    assert.equal(await tellsOfCredentials({ ...nobody, AWS_CONFIG_FILE: file }), true)
  })

  it('are read as the default profile only, and not from a region', () => {
    assert.equal(defaultProfileHasCredentials('[profile default]\r\nsso_session = x\r\n'), true)
    assert.equal(defaultProfileHasCredentials('[ default ] # mine\ncredential_process=/bin/x'), true)
    assert.equal(defaultProfileHasCredentials('[default]\nregion = eu-west-1\n'), false)
    assert.equal(defaultProfileHasCredentials('[other]\naws_access_key_id = a\n'), false)
    assert.equal(defaultProfileHasCredentials('[default]\n[profile other]\nrole_arn = a\n'), false)
    assert.equal(defaultProfileHasCredentials('[default]\n# role_arn = a\nrole_arn =\n'), false)
  })

  it('allow the role of the machine outside of pods, unless it is switched off', () => {
    assert.equal(mayUseMachineRole({}), true)
    assert.equal(mayUseMachineRole({ AWS_EC2_METADATA_DISABLED: 'true' }), false)
    assert.equal(mayUseMachineRole({ KUBERNETES_SERVICE_HOST: '10.96.0.1' }), false)
  })
})
