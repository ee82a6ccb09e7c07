// Sends agent runs through the Node.js OpenTelemetry SDK and prints their trace ids as JSON.
//
//   node send.cjs grpc|http/protobuf|http/json ENDPOINT RUNS none|gzip
//
// A run is an agent that calls a model, a tool, and the model again.
'use strict';

const { SpanKind, SpanStatusCode, context, trace } = require('@opentelemetry/api');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

const [protocol, endpoint, runs, compression] = process.argv.slice(2);
const exporters = {
  grpc: ['@opentelemetry/exporter-trace-otlp-grpc', `http://${endpoint}`],
  'http/protobuf': ['@opentelemetry/exporter-trace-otlp-proto', `http://${endpoint}/v1/traces`],
  'http/json': ['@opentelemetry/exporter-trace-otlp-http', `http://${endpoint}/v1/traces`],
};
const [module_name, url] = exporters[protocol];
const { OTLPTraceExporter } = require(module_name);

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'node-agent' }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url, compression }))],
});
provider.register();
const tracer = trace.getTracer('node-agent', '1.0.0');

const call = (run) => ({
  kind: SpanKind.CLIENT,
  attributes: {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'openai',
    'gen_ai.request.model': 'gpt-4o-mini',
    'gen_ai.response.model': 'gpt-4o-mini-2024-07-18',
    'gen_ai.response.id': `chatcmpl-${protocol}-${run}-${Math.random()}`,
    'gen_ai.response.finish_reasons': ['stop'],
    'gen_ai.usage.input_tokens': 1000,
    'gen_ai.usage.output_tokens': 100,
    'gen_ai.usage.cache_read.input_tokens': 400,
  },
});

const trace_ids = [];
for (let run = 0; run < Number(runs); run++) {
  const agent = tracer.startSpan('invoke_agent planner', {
    attributes: { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.name': 'planner' },
  });
  const inside = trace.setSpan(context.active(), agent);
  tracer.startSpan('chat gpt-4o-mini', call(run), inside).end();
  const tool = tracer.startSpan(
    'execute_tool get_weather',
    { attributes: { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'get_weather' } },
    inside,
  );
  tool.setStatus({ code: SpanStatusCode.ERROR, message: 'no such city' });
  tool.setAttribute('error.type', 'LookupError');
  tool.end();
  tracer.startSpan('chat gpt-4o-mini', call(run), inside).end();
  agent.end();
  trace_ids.push(agent.spanContext().traceId);
}

provider.forceFlush().then(() => provider.shutdown()).then(
  () => console.log(JSON.stringify(trace_ids)),
  (error) => { console.error(error); process.exitCode = 1; },
);
