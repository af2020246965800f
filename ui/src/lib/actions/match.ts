/** Whether every word of `query` begins some word of `label`, in any order, whatever the case and the accents. */
export function matches(query: string, label: string): boolean {
  const words = fold(label).split(/[\s\-_.,:/]+/);
  return fold(query)
    .split(/\s+/)
    .filter(Boolean)
    .every((wanted) => words.some((word) => word.startsWith(wanted)) || fold(label).includes(wanted));
}

function fold(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().trim();
}
