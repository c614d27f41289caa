/** The fault of an image that contradicts its format, in the words that all readers share. */
import { CdiError } from '../../src/errors.ts'

/** Makes CDI_FORMAT_INVALID of the reason why, a clause. */
export type Invalid = (why: string) => CdiError

export function invalidImage({ name, format }: { readonly name: string; readonly format: string }): Invalid {
  return (why) => new CdiError('CDI_FORMAT_INVALID', `Image ${name} is not a valid ${format} image: ${why}`)
}
