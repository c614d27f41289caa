/** Installs the service into a cluster: definitions, deployment, and what the embedded cluster's classes can do. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { clusterUnderTest, type ClusterUnderTest } from './cluster-under-test.ts'
import { explain } from './explain.ts'
import { checkout } from './layout.ts'
import { say } from './say.ts'
import { waitFor } from './wait-for.ts'

/** Leaves a controller of this image that is ready; repeating it changes nothing. */
export async function installCdi({ kubectl, image, embedded }: ClusterUnderTest): Promise<void> {
  say(`installing the service (${image})`)
  const dir = join(checkout, 'crds')
  const files = (await readdir(dir)).filter((file) => file.endsWith('.yaml'))
  await kubectl.apply((await Promise.all(files.map((file) => readFile(join(dir, file), 'utf8')))).join('\n---\n'))
  await kubectl.established(files.map((file) => file.slice(0, -'.yaml'.length)))
  const manifest = await readFile(join(checkout, 'deploy/cdi.yaml'), 'utf8')
  await waitFor({ what: 'the API of the new definitions', timeoutMs: 30_000 }, async () => {
    await kubectl.apply(manifest.replaceAll('${CDI_IMAGE}', image))
    return true
  })
  if (embedded) {
    await kubectl.apply(await readFile(new URL('manifests/storage-profiles.yaml', import.meta.url), 'utf8'))
  }
  for (const name of ['cdi-deployment', 'cdi-apiserver', 'cdi-uploadproxy']) {
    await kubectl.run(['-n', 'cdi', 'rollout', 'status', `deployment/${name}`, '--timeout=180s'])
  }
  await kubectl.run(['wait', '--for=condition=Available', '--timeout=60s', 'apiservice/v1beta1.upload.cdi.kubevirt.io'])
  say('the service is ready')
}

if (import.meta.main) await explain(async () => installCdi(await clusterUnderTest()))
