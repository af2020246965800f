// Decodes greedily with llama.cpp and prints one line of JSON: {"seconds", "tokens_per_second", "device", "llama_cpp"}.
//
//   node decode.mjs MODEL.gguf BACKEND PROMPT_TOKENS DECODE_TOKENS THREADS [DEVICE]
//
// BACKEND is cpu or vulkan. DEVICE is the number of the Vulkan device.

const [path, backend, ...numbers] = process.argv.slice(2);
const [promptTokens, decodeTokens, threads, device = 0] = numbers.map(Number);

// Without it the Vulkan backend passes over software devices. It is read while the library is loaded.
process.env.GGML_VK_VISIBLE_DEVICES = String(device);
const { getLlama } = await import("node-llama-cpp");

const vulkan = backend === "vulkan";
const llama = await getLlama({
    gpu: vulkan && "vulkan",
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    logLevel: "error",
});
const model = await llama.loadModel({ modelPath: path, gpuLayers: vulkan ? "max" : 0, ignoreMemorySafetyChecks: true });
// Otherwise a missing driver would be measured as if it were there.
if (vulkan && model.gpuLayers === 0) throw new Error("the model is not on the Vulkan device");
const context = await model.createContext({
    contextSize: promptTokens + decodeTokens + 1,
    threads,
    ignoreMemorySafetyChecks: true,
});
const sequence = context.getSequence();

// Any ordinary tokens do: the time does not depend on which.
const prompt = Array.from({ length: promptTokens }, (_, i) => 3 + (i % 256));
const seconds = [];
let last;
for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    const now = performance.now();
    // The first token also waits for the prompt.
    if (last !== undefined) seconds.push((now - last) / 1000);
    last = now;
    if (seconds.length === decodeTokens) break;
}
if (seconds.length === 0) throw new Error("no token was decoded");
seconds.sort((a, b) => a - b);
const middle = seconds.length >> 1;
const median = seconds.length % 2 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
const names = vulkan ? await llama.getGpuDeviceNames() : ["CPU"];
console.log(JSON.stringify({
    seconds: median,
    tokens_per_second: 1 / median,
    steps: seconds.length,
    device: names.join(", "),
    gpu_layers: model.gpuLayers,
    llama_cpp: llama.llamaCppRelease.release,
}));
await llama.dispose();
