// Draws a dashboard with Grafana's own panel components, from /bundle.json that bundle.py wrote.
// State timelines are not in Grafana's npm packages: those are drawn here, in Grafana's colours.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, dateTime, FieldType, getDisplayProcessor, setTimeZoneResolver, ThemeContext, toDataFrame } from '@grafana/data';
import { BarGauge, BigValue, BigValueColorMode, BigValueGraphMode, GlobalStyles, PanelChrome, Table, TimeSeries } from '@grafana/ui';

const WIDTH = 1500;
const COLUMN = WIDTH / 24;
const ROW = 34;
const GAP = 8;
const theme = createTheme({ colors: { mode: 'dark' } });
setTimeZoneResolver(() => 'utc');

const override = (panel, name) =>
  Object.fromEntries((panel.fieldConfig.overrides.find((one) => one.matcher.options === name)?.properties ?? []).map((p) => [p.id, p.value]));

function field(panel, name, type, values, labels, index = 0) {
  const own = override(panel, name);
  const { links, ...defaults } = panel.fieldConfig.defaults;
  const custom = { ...defaults.custom, ...(own['custom.cellOptions'] ? { cellOptions: own['custom.cellOptions'] } : {}), ...(own['custom.width'] ? { width: own['custom.width'] } : {}) };
  const { thresholds } = { ...defaults, ...own };
  // In JSON, which has no -Infinity, the first step begins at null.
  const steps = thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  const config = { ...defaults, ...own, thresholds: { ...thresholds, steps }, links: undefined, displayName: name, custom };
  const made = { name, type, values, labels, config, state: { seriesIndex: index, displayName: name } };
  made.display = getDisplayProcessor({ field: made, theme, timeZone: 'utc' });
  return made;
}

const graphFrames = (panel) =>
  panel.series.map((one, index) => ({
    refId: one.refId,
    length: one.time.length,
    fields: [
      { name: 'Time', type: FieldType.time, values: one.time, config: {}, state: {}, display: (v) => ({ text: String(v), numeric: v }) },
      field(panel, one.name, FieldType.number, one.value, one.labels, index),
    ],
  }));

function Graph({ panel, width, height, range }) {
  return (
    <TimeSeries
      width={width} height={height} frames={graphFrames(panel)} timeRange={range} timeZone="utc" theme={theme} options={{}}
      legend={panel.options.legend}
    />
  );
}

function Bars({ panel, width, height }) {
  const each = Math.min(56, height / panel.series.length);
  // As Grafana does: all bars leave as much room as the longest name and value need.
  const longest = (texts) => texts.reduce((a, b) => (b.length > a.length ? b : a), '');
  const most = panel.fieldConfig.defaults.max ?? Math.max(...panel.series.map((one) => one.value.at(-1)));
  return panel.series.map((one, index) => {
    const alignmentFactors = { title: longest(panel.series.map((other) => other.name)), text: '$0.00000' };
    const shown = field({ ...panel, fieldConfig: { ...panel.fieldConfig, defaults: { ...panel.fieldConfig.defaults, max: most } } }, one.name, FieldType.number, one.value, one.labels, index);
    return (
      <div key={index} style={{ height: each }}>
        <BarGauge
          width={width} height={each - 6} theme={theme} field={shown.config} display={shown.display} displayMode="basic" orientation="horizontal" namePlacement={panel.options.namePlacement}
          value={{ ...shown.display(one.value.at(-1)), title: one.name }} showUnfilled isOverflow={false} itemSpacing={8} alignmentFactors={alignmentFactors}
        />
      </div>
    );
  });
}

function Sheet({ panel, width, height }) {
  const { columns, rows } = panel.table;
  const frame = toDataFrame({ fields: [] });
  frame.fields = columns.map((name, at) => {
    const values = rows.map((row) => row[at]);
    return field(panel, name, values.some((v) => typeof v === 'number') ? FieldType.number : FieldType.string, values, undefined, at);
  });
  frame.length = rows.length;
  return <Table width={width} height={height} data={frame} initialSortBy={panel.options.sortBy} noHeader={false} />;
}

function States({ panel, width, height, range }) {
  const from = range.from.valueOf();
  const span = range.to.valueOf() - from;
  const colors = ['green', 'yellow', 'red'].map((name) => theme.visualization.getColorByName(name));
  const left = 190;
  const each = Math.min(34, (height - 22) / panel.series.length);
  return (
    <svg width={width} height={height} style={{ font: `12px ${theme.typography.fontFamily}` }}>
      {panel.series.map((one, row) => (
        <g key={row}>
          <text x={left - 8} y={row * each + each / 2 + 4} textAnchor="end" fill={theme.colors.text.primary}>{one.name}</text>
          {one.time.map((time, at) => {
            if (one.value[at] === null) return null;
            const next = one.time[at + 1] ?? range.to.valueOf();
            const scale = (width - left - 8) / span;
            return <rect key={at} x={left + (time - from) * scale} y={row * each + 3} width={Math.max(1, (next - time) * scale + 0.5)} height={each - 6} fill={colors[one.value[at]]} />;
          })}
        </g>
      ))}
    </svg>
  );
}

function Body({ panel, width, height, range }) {
  if (!panel.series.length && !panel.table?.rows.length) {
    return <div style={{ padding: 8, color: theme.colors.text.secondary }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  if (panel.type === 'stat') {
    const shown = field(panel, panel.title, FieldType.number, panel.series[0].value, {});
    return <BigValue width={width} height={height} theme={theme} value={shown.display(panel.series[0].value.at(-1))} colorMode={BigValueColorMode.Value} graphMode={BigValueGraphMode.None} textMode="value" />;
  }
  const Kind = { timeseries: Graph, bargauge: Bars, table: Sheet, 'state-timeline': States }[panel.type];
  return <Kind panel={panel} width={width} height={height} range={range} />;
}

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) { return { error }; }
  render() { return this.state.error ? <div data-error style={{ color: 'red' }}>{String(this.state.error.stack)}</div> : this.props.children; }
}

function Panel({ panel, range }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: x * COLUMN + GAP / 2, top: y * ROW + GAP / 2 };
  if (panel.type === 'row') {
    return <div style={{ ...place, color: theme.colors.text.primary, fontWeight: 500, padding: 6 }}>⌄ {panel.title}</div>;
  }
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={w * COLUMN - GAP} height={h * ROW - GAP}>
        {(width, height) => <Guard><Body panel={panel} width={width} height={height} range={range} /></Guard>}
      </PanelChrome>
    </div>
  );
}

const bundle = await (await fetch('/bundle.json')).json();
const range = { from: dateTime(bundle.from), to: dateTime(bundle.to), raw: { from: dateTime(bundle.from), to: dateTime(bundle.to) } };
const height = Math.max(...bundle.panels.map((panel) => panel.gridPos.y + panel.gridPos.h)) * ROW + GAP;
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div id="board" style={{ position: 'relative', width: WIDTH, height, background: theme.colors.background.canvas, fontFamily: theme.typography.fontFamily }}>
      {bundle.panels.map((panel) => <Panel key={panel.id} panel={panel} range={range} />)}
    </div>
  </ThemeContext.Provider>
);
setTimeout(() => { document.title = 'ready'; }, 2500);
