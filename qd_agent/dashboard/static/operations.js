// Whether the machinery keeps up: latency, what waits, stores.

import { fixed, span } from "./format.js";

/**
 * Give the facts about the agents and stores.
 * @param state the page's state.
 * @param lineUp whether the line to the dashboard is up.
 * @param now the service's clock, s.
 */
export function operationFacts(state, lineUp, now) {
  const facts = [latency(state.latency)];
  if (!lineUp) facts.unshift(["bad", "This page", "cut off from the dashboard, trying again"]);
  if (state.redis && !state.redis.up) {
    facts.push(["bad", "Redis", `away for ${span(now - state.redis.since)}, trying again`]);
  }
  if (state.agents.length === 0) facts.push(["bad", "Agent", "none reports"]);
  for (const agent of state.agents) facts.push(...agentFacts(agent));
  return facts;
}

function latency(found) {
  if (!found) return ["none", "Latency", "no frame yet"];
  const ms = (value) => (value < 10000 ? `${Math.round(value)}` : `${fixed(value / 1000, 0)} 000`);
  const text = `p50 ${ms(found.p50)} · p95 ${ms(found.p95)} · p99 ${ms(found.p99)} ms`;
  return [found.p95 < 5000 ? "ok" : "warn", "Latency", text];
}

function agentFacts(agent) {
  const number = (name) => Number(agent[name] || 0);
  const waiting = number("open") + number("queued_documents");
  const behind = number("behind_s");
  const sinks = Object.keys(agent).filter((name) => name.startsWith("sink_")).map((name) => name.slice(5));
  return [
    [agent.state === "running" ? "ok" : "warn", "Agent", `${agent.agent_id} ${agent.state} on ${agent.host}, ${agent.version}`],
    [agent.source_state === "connected" ? "ok" : "bad", "Source", `${agent.source_state} (${agent.source})`],
    [waiting > 50 ? "warn" : "ok", "Backlog", `${number("open")} frames, ${number("queued_documents")} documents`],
    [behind > 30 ? "warn" : "ok", "Lag", behind > 0 ? `${span(behind)} behind` : "none"],
    [number("set_aside") > 0 ? "warn" : "ok", "Set aside", `${number("set_aside")} of ${number("seen")} frames`],
    ...sinks.map((sink) => sinkFact(agent, sink)),
  ];
}

function sinkFact(agent, sink) {
  const state = agent[`sink_${sink}`];
  const waiting = Number(agent[`backlog_${sink}`] || 0);
  const lag = Number(agent[`lag_${sink}_s`] || 0);
  const text = waiting > 0 ? `${state}, ${waiting} waiting for ${span(lag)}` : `${state}, has everything`;
  const name = sink === "redis" ? "Redis" : sink === "tiled" ? "Tiled" : sink;
  return [state === "up" ? (lag > 30 ? "warn" : "ok") : "bad", name, text];
}
