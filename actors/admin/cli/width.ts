/**
 * How many columns a text takes on a terminal: Chinese, Japanese and Korean letters and emoji take two, marks that
 * are drawn over another letter take none. A table is straight only when it counts so.
 */
const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const plain = /^[\x20-\x7e]*$/
const none = /^[\p{Mark}\p{Cf}\p{Cc}]+$/u
const emoji = /\p{Emoji_Presentation}|\ufe0f/u

// The blocks of Unicode's East Asian Width "Wide" and "Fullwidth"; the rare ones among them are left out.
const wide: readonly (readonly [first: number, last: number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0x303e],
  [0x3041, 0xa4cf],
  [0xa960, 0xa97c],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff01, 0xff60],
  [0xffe0, 0xffe6],
  [0x20000, 0x3fffd],
]

export function displayWidth(text: string): number {
  if (plain.test(text)) return text.length
  let width = 0
  for (const { segment } of segmenter.segment(text)) width += widthOf(segment)
  return width
}

/** The text, or its beginning with `…`, in at most `columns` columns. */
export function shorten(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const { segment } of segmenter.segment(text)) {
    width += widthOf(segment)
    if (width > columns - 1) break
    kept += segment
  }
  return `${kept}…`
}

function widthOf(grapheme: string): number {
  if (none.test(grapheme)) return 0
  const code = grapheme.codePointAt(0) ?? 0
  return emoji.test(grapheme) || wide.some(([first, last]) => code >= first && code <= last) ? 2 : 1
}
