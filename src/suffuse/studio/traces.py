"""Series to look at: lines over time, or of three channels a way through space, to turn and to read numbers from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from suffuse.data.series import NUMBER

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

_MOST_SERIES, _MOST_CHANNELS, _MOST_POINTS = 16, 6, 20_000
"""That are drawn: a browser is to turn them."""
_ROW, _SPACE = 130, 460
"""Pixels of height for each channel, and for a space."""
_MARGIN = 40


def traces(table: "pd.DataFrame") -> "Figure":
    """A plot of what :class:`suffuse.outputs.SeriesFiles` wrote: times, channels, and of several series their numbers.

    Example:
        >>> import pandas as pd
        >>> way = pd.DataFrame({"t": [0, 1], "x": [0.0, 1.0], "y": [2.0, 1.0], "z": [0.0, 3.0]})
        >>> [trace.type for trace in traces(way).data]
        ['scatter3d']
        >>> [trace.type for trace in traces(way.drop(columns="z")).data]
        ['scatter', 'scatter']
    """
    numbered = table.columns[-1] == NUMBER and len(table.columns) > 2
    parts = [part for _, part in table.groupby(NUMBER)][:_MOST_SERIES] if numbered else [table]
    time, *channels = [name for name in table.columns if not (numbered and name == NUMBER)]
    shown = [part.head(_MOST_POINTS // len(parts)) for part in parts]
    drawn = _space(shown, channels) if len(channels) == 3 else _lines(shown, str(time), channels[:_MOST_CHANNELS])
    drawn.update_layout(margin={"l": _MARGIN, "r": _MARGIN, "t": _MARGIN // 2, "b": _MARGIN}, showlegend=len(shown) > 1)
    return drawn


def _space(parts: Sequence["pd.DataFrame"], channels: Sequence[str]) -> "Figure":
    from plotly.graph_objects import Figure, Scatter3d

    x, y, z = channels
    ways = [
        Scatter3d(x=part[x], y=part[y], z=part[z], mode="lines", name=str(number))
        for number, part in enumerate(parts, 1)
    ]
    whole = {"eye": {"x": 1.5, "y": 1.5, "z": 1.0}}
    space = {"xaxis_title": x, "yaxis_title": y, "zaxis_title": z, "camera": whole}
    return Figure(ways, {"height": _SPACE, "scene": space})


def _lines(parts: Sequence["pd.DataFrame"], time: str, channels: Sequence[str]) -> "Figure":
    from plotly.colors import qualitative
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(len(channels), 1, shared_xaxes=True, vertical_spacing=0.04)
    for row, channel in enumerate(channels, 1):
        for number, part in enumerate(parts):
            colour = qualitative.Plotly[number % len(qualitative.Plotly)]
            line = Scatter(
                x=part[time],
                y=part[channel],
                mode="lines",
                name=str(number + 1),
                line_color=colour,
                legendgroup=number,
                showlegend=row == 1,
            )
            figure.add_trace(line, row, 1)
        figure.update_yaxes(title_text=channel, row=row, col=1)
    figure.update_xaxes(title_text=time, row=len(channels), col=1)
    return figure.update_layout(height=_ROW * len(channels) + 2 * _MARGIN)
