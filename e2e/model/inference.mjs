// A small language model in this process: real tokens at a real pace, the same words for the same question.

import { LlamaChatSession, LlamaLogLevel, getLlama } from 'node-llama-cpp';

const PARALLEL_ANSWERS = 4;
const CONTEXT_TOKENS = 1024;
// Several threads wait for each other by spinning: on a busy machine one is many times faster.
const THREADS = 1;

export class Inference {
  #idle;
  #waiting = [];
  #embeddings;

  /** Reads the GGUF file at `path`; afterwards four answers can be generated side by side. */
  static async load(path) {
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      logLevel: LlamaLogLevel.error,
    });
    const model = await llama.loadModel({ modelPath: path });
    const context = await model.createContext({
      sequences: PARALLEL_ANSWERS,
      contextSize: CONTEXT_TOKENS,
      threads: THREADS,
    });
    const embeddings = await model.createEmbeddingContext({ contextSize: CONTEXT_TOKENS, threads: THREADS });
    return new Inference(context, embeddings);
  }

  constructor(context, embeddings) {
    this.#idle = Array.from({ length: PARALLEL_ANSWERS }, () => context.getSequence());
    this.#embeddings = embeddings;
  }

  /**
   * Answers the last of `messages` (`{role, content}`, the last by the user), handing each piece of text, and how many
   * tokens the question had, to `onText`. Resolves to the whole answer and its token counts; rejects when `signal` aborts.
   */
  async answer({ messages, maxTokens, onText, signal }) {
    const sequence = this.#idle.pop() ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
    try {
      await sequence.clearHistory();
      const before = sequence.tokenMeter.getState();
      const used = () => sequence.tokenMeter.diff(before);
      const session = new LlamaChatSession({ contextSequence: sequence });
      session.setChatHistory(messages.slice(0, -1).map(historyItem));
      const { responseText, stopReason } = await session.promptWithMeta(messages.at(-1).content, {
        maxTokens,
        temperature: 0,
        onTextChunk: (text) => onText?.(text, used().usedInputTokens),
        signal,
      });
      const { usedInputTokens, usedOutputTokens } = used();
      return {
        text: responseText,
        cutShort: stopReason === 'maxTokens',
        inputTokens: usedInputTokens,
        outputTokens: usedOutputTokens,
      };
    } finally {
      this.#release(sequence);
    }
  }

  /** The embedding of `text`, a list of numbers. */
  async embed(text) {
    const { vector } = await this.#embeddings.getEmbeddingFor(text);
    return vector;
  }

  #release(sequence) {
    const next = this.#waiting.shift();
    if (next) next(sequence);
    else this.#idle.push(sequence);
  }
}

function historyItem({ role, content }) {
  if (role === 'assistant') return { type: 'model', response: [content] };
  return { type: role, text: content };
}
