/** What the mock answers, and what its conversations are about. */

export const ANSWER = `Here is a short tour of what an answer can hold.

## Words

A paragraph with **bold**, *italic* and \`code\`. An address is never a link: [the reference](https://github.com/karpathy/nanochat).

1. First, plain text is turned into tokens.
2. Then a model learns which token tends to follow.
3. At last it is shown conversations, so that it answers.

## Code

\`\`\`python
def bits_per_byte(loss: float, tokens: int, bytes: int) -> float:
    """Cross-entropy in nats, as bits for each byte of text."""
    return loss / math.log(2) * tokens / bytes  # lower is better
\`\`\`

## Numbers

| depth | width | parameters |
|------:|------:|-----------:|
| 4     | 256   | 11.5M      |
| 12    | 768   | 186M       |
| 20    | 1280  | 561M       |

The loss of one token is $-\\log p(x_t \\mid x_{<t})$, and over a text of $T$ tokens

$$
L = -\\frac{1}{T} \\sum_{t=1}^{T} \\log p(x_t \\mid x_{<t}).
$$

> A small model is often wrong, and always quick about it.
`;

export const SHORT =
  'I am a small language model that runs on this machine. I can chat a little, spell words, and do sums with a calculator.';

export const TITLES = [
  'How a tokenizer splits words',
  'Why is the sky blue?',
  'Spelling “garden”',
  'A story about a lighthouse',
  'What 12 * 7 + 5 makes',
  'Bits per byte, explained',
  'Names for a small robot',
  'The longest river in Europe',
  'Writing a haiku about rain',
  'Sorting a list in Rust',
  'What is a residual stream?',
  'Planning a day in Lisbon',
];

export const SAMPLES = [
  'The capital of France is the the of the and a the',
  'The capital of France is a great town, and the people of the country were',
  'The capital of France is Paris, where the king had his house by the river.',
];
