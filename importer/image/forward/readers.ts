/** The readers of all formats that are converted while they stream by. A new one is one line here and one in facts.ts. */
import type { ImageFacts, OnePass } from '../facts.ts'
import type { ForwardReader } from './forward.ts'
import { readQcow2Forward } from './qcow2.ts'
import { readVdiForward } from './vdi.ts'
import { readVhdForward } from './vhd.ts'
import { readVhdxForward } from './vhdx.ts'
import { readVmdkStreamForward } from './vmdk-stream.ts'
import { readVmdkForward } from './vmdk.ts'

/** What a reader is made of. */
export interface ReaderInput<Layout extends OnePass> {
  /** Where the tables are and how they are written: `facts.onePass`. */
  readonly layout: Layout
  readonly facts: ImageFacts
  /** The image as messages name it. */
  readonly name: string
}

/** Makes the reader of an image that is read once, from front to end. */
export function forwardReader({ layout, facts, name }: ReaderInput<OnePass>): ForwardReader {
  switch (layout.kind) {
    case 'qcow2':
      return readQcow2Forward({ layout, facts, name })
    case 'vdi':
      return readVdiForward({ layout, facts, name })
    case 'vhd':
      return readVhdForward({ layout, facts, name })
    case 'vhdx':
      return readVhdxForward({ layout, facts, name })
    case 'vmdk':
      return readVmdkForward({ layout, facts, name })
    case 'vmdk-stream':
      return readVmdkStreamForward({ layout, facts, name })
    default:
      return layout satisfies never
  }
}
