/**
 * Bootable container images (bootc): the image is itself the root file system of a machine, and what lies in it is no disk
 * for a volume. They are refused by name, since "no disk found" would send people looking for the wrong thing.
 */
import { CdiError } from '../../../src/errors.ts'

const bootcLabels = ['containers.bootc', 'ostree.bootable'] as const

/** Directories in the root of every bootc image. */
export const bootcDirectories = ['sysroot', 'ostree'] as const

/** Throws CDI_REGISTRY_BOOTC if the labels of an image say that it boots by itself. */
export function assertNoBootcLabels(labels: Readonly<Record<string, string>>): void {
  const label = bootcLabels.find((name) => labels[name] === '1')
  if (label !== undefined) throw bootcFault(`it has the label ${label}=1`)
}

/** The fault; `why` is a clause: how it was recognised. */
export function bootcFault(why: string): CdiError {
  return new CdiError(
    'CDI_REGISTRY_BOOTC',
    `bootc image detected: the image boots by itself and holds no disk (${why})`,
  )
}
