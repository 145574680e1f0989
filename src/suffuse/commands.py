"""What each verb of the command line does: reads the arguments, calls the library, says what came out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from suffuse.errors import UserError
from suffuse.recipes.recipe import Recipe

Positional = tyro.conf.Positional


def train(
    source: Positional[str],
    recipe: tyro.conf.OmitArgPrefixes[Recipe],
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
) -> None:
    """Learn from your data; run it again to go on where it stopped.

    Args:
        source: folder of pictures (sub-folders are classes; a metadata.csv adds fields), file, or hub name.
        recipe: every choice about the model.
        out: the run folder; by default runs/ and the name of the source.
    """
    from suffuse import learn

    learn.train(source, recipe, out or Path("runs") / Path(source).resolve().name)


def generate(
    run: Positional[Path],
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 16,
    condition: tuple[str, ...] = (),
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    seed: int = 0,
    size: tuple[int, ...] = (),
    seamless: bool = False,
    regions: tuple[str, ...] = (),
    out: Path | None = None,
    engine: Literal["ray"] | None = None,
    format: Literal["parquet", "webdataset"] = "parquet",
    shard: int = 1000,
    workers: int | None = None,
) -> None:
    """Draw new samples: pictures into a folder, all else into a file whose suffix says its form.

    With --engine ray many workers draw them into a folder of files, for which alone --format, --shard and --workers
    count. The same command goes on where it was stopped or killed.

    Args:
        run: run folder of a trained model.
        n: how many.
        condition: what to draw: a class or caption, or field=value for each of several fields.
        steps: evaluations of the network for each walk; more is slower and closer to the model.
        guidance: weight of the condition; 1 is none, 2 to 4 is sharper and less various.
        sampler: the way to walk by name; by default one tuned for so many steps, or the best there is for them.
        seed: of the first sample; the next have the next seeds.
        size: of pictures, their side or height and width: larger ones than in training are drawn window by window.
        seamless: draw pictures that can be laid out as tiles.
        regions: conditions by region, such as sky.png:blue: a picture of the size drawn, white where it counts.
        out: where to write to; by default generated in the run folder, with a suffix that suits the data.
        engine: what draws: by default this process; ray for workers of a Ray cluster, that of RAY_ADDRESS or our own.
        format: of the files.
        shard: samples in each file, the last of which may have fewer.
        workers: processes that draw; by default one for each GPU, or each CPU.
    """
    if engine is not None:
        from suffuse.scale import engine as ray
        from suffuse.scale.plan import Plan, versions
        from suffuse.store import fingerprint

        if regions:
            raise UserError("regions are drawn by one process; leave out --engine or --regions")
        plan = Plan(
            fingerprint(run),
            versions(),
            n,
            seed=seed,
            shard=shard,
            form=format,
            condition=condition,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            size=size,
            seamless=seamless,
        )
        folder = out or run / "shards"
        ray.generate(run, plan, folder, workers)
        print(folder)
        return
    from suffuse.editing import region_of
    from suffuse.outputs import output_of
    from suffuse.progress import Progress
    from suffuse.store import load

    model = load(run)
    output = output_of(model.codec.kind)
    with Progress("generating", n) as progress:
        items = model.generate(
            n,
            condition=model.parse_condition(condition),
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            seed=seed,
            size=size[0] if len(size) == 1 else size or None,
            seamless=seamless,
            regions=[region_of(model, each) for each in regions],
            progress=progress.to,
        )
    print(output.save(items, out or run / output.default))


def infill(
    run: Positional[Path],
    source: Positional[Path],
    holes: tuple[str, ...] = (),
    out: Path | None = None,
    condition: tuple[str, ...] = (),
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    draws: int = 1,
    seed: int = 0,
) -> None:
    """Fill the holes of items, given the rest of each, which stays as it is.

    Holes are empty cells of a table, or of a series, whose future is rows with a time and nothing else; in a text or a
    sequence [[5]] is a gap of five tokens, and [[]] all the room left. Those of sounds, videos and music are said
    in --holes; one that reaches beyond the end is what comes next. Voices that a piece of music lacks are written.

    Args:
        run: run folder of a trained model.
        source: file of items, with holes.
        holes: spans to leave out, such as 1.2:1.25: from and to, in seconds of sound, frames of a video, bars of music.
        out: file to write; by default filled and the suffix of the source, in the run folder.
        condition: what they are said to be, as for generate.
        steps: evaluations of the network for each walk.
        guidance: weight of the condition; 1 is none.
        sampler: the way to walk by name.
        draws: of each item: what several are like is written, means of a table's cells, intervals of a series.
        seed: of the first draw; the next have the next seeds.
    """
    from suffuse.data.sources import open_source
    from suffuse.filling import hollowed
    from suffuse.outputs import output_of
    from suffuse.progress import Progress
    from suffuse.store import load

    model = load(run)
    output, opened = output_of(model.codec.kind), open_source(source, kind=model.codec.kind)
    path = out or run / output.filled(source)
    hollow = hollowed(model, opened.raw(range(len(opened))), holes)
    with Progress("filling", draws * len(opened)) as progress:
        items = model.infill(
            hollow,
            condition=model.parse_condition(condition),
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            draws=draws,
            seed=seed,
            progress=progress.to,
        )
    print(output.save(items, path))


def restore(
    run: Positional[Path],
    source: Positional[Path],
    operator: str,
    noise: float | None = None,
    draws: int = 8,
    steps: int | None = None,
    seed: int = 0,
    condition: tuple[str, ...] = (),
    out: Path | None = None,
) -> None:
    """Draw items from what was measured of them: there are several answers, and of pictures a map of where they differ.

    Operators are inpaint:MASK.png (white is kept), random:0.5 and box:0.5 (shares), outpaint:8 (pixels),
    super-resolve:4, denoise:0.2, deblur:2 and motion:9,45 (pixels, degrees), colourise, jpeg:20, and others that an
    unknown name lists. Items larger than in training keep their size.

    Args:
        run: run folder of a trained model.
        source: a file, or a folder of them: for super-resolve small ones, else as large as in training or larger.
        operator: what was done to the items, by its name.
        noise: deviation of the noise on them, where black is -1 and white 1; by default that of rounding.
        draws: of each item.
        steps: of each walk, which ask the network several times each.
        seed: of the first draw; the next have the next seeds.
        condition: what the items are, as for generate.
        out: folder to write to, in it one for each of several items; by default restored in the run folder.
    """
    from suffuse.outputs import output_of
    from suffuse.progress import Progress
    from suffuse.scoring import scanned
    from suffuse.store import load

    model, out = load(run), out or run / "restored"
    output, (opened, report) = output_of(model.codec.kind), scanned(source, model)
    places, told, shown = report.keep, model.parse_condition(condition), out
    many = len(opened) > 1 or source.is_dir()
    with Progress("restoring", draws * len(places)) as progress:
        for number, (place, name) in enumerate(zip(places, opened.names(places), strict=True)):
            restored = model.restore(
                opened.raw([place])[0],
                operator,
                noise,
                draws,
                steps=steps,
                seed=seed,
                condition=told,
                progress=lambda done, _, before=number * draws: progress.to(before + done, draws * len(places)),
            )
            shown = output.save_restored(restored, operator, out / name if many else out)
    print(out if many else shown)


def edit(
    run: Positional[Path],
    source: Positional[Path],
    strength: float = 0.5,
    mask: Path | None = None,
    condition: tuple[str, ...] = (),
    draws: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    towards: Path | None = None,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 8,
    out: Path | None = None,
) -> None:
    """Change items: noise them to a strength and walk back, as a whole or where a mask is white.

    Pictures larger than in training keep their size. With --towards it draws the way from one picture to another, for
    which of the options below only --condition, -n and --out count.

    Args:
        run: run folder of a trained model.
        source: a picture, a folder of them, or a file of items of the model's kind.
        strength: how much is drawn anew, above 0 to 1 for all.
        mask: picture of the same size, white where it may change; the rest stays as it is.
        condition: what they are to become, as for generate.
        draws: of each item.
        seed: of the first draw; the next have the next seeds.
        steps: evaluations of the network for a whole walk, of which the strength is a share.
        guidance: weight of the condition; 1 is none, 2 to 4 goes further.
        towards: another picture, to which the way from the first is drawn, through the noise of both.
        n: pictures on that way, both ends included.
        out: where to write to; by default edited in the run folder, with a suffix that suits the data.
    """
    from suffuse.data.sources import open_source
    from suffuse.outputs import output_of
    from suffuse.progress import Progress
    from suffuse.scoring import scanned
    from suffuse.store import load

    def items_of(path: Path) -> Any:
        opened, report = scanned(path, model)
        return opened.raw(report.keep)

    model = load(run)
    output, items, told = output_of(model.codec.kind), items_of(source), model.parse_condition(condition)
    path = out or run / Path(output.default).with_stem("edited")
    if towards is not None:
        a, b = (model.codec.items(each)[0] for each in (items, items_of(towards)))
        print(output.save(model.interpolate(a, b, n, condition=told), path))
        return
    with Progress("editing", draws * len(items)) as progress:
        edited = model.edit(
            items,
            strength,
            None if mask is None else open_source(mask, kind="image").raw([0])[0],
            condition=told,
            draws=draws,
            seed=seed,
            steps=steps,
            guidance=guidance,
            progress=progress.to,
        )
    print(output.save_beside(model.codec.items(items), edited, path))


def translate(
    run: Positional[Path],
    source: Positional[Path],
    out: Path | None = None,
    to: Path | None = None,
    condition: tuple[str, ...] = (),
    from_condition: tuple[str, ...] = (),
    draws: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    seed: int = 0,
) -> None:
    """Draw for each item what it became in training: a text's translation, or the picture that belongs to a picture.

    With --to, --condition or --from-condition no pairs are needed: an item is walked up to its noise, and down again as
    one of another model, or of another class.

    Args:
        run: run folder of a model that was trained on pairs, or for --to and conditions of any model of pictures.
        source: a picture, a folder of them, or a file with a text on each line.
        out: where to write to; by default translated in the run folder, with a suffix that suits the data.
        to: run folder of a model of what the items are to become.
        condition: what they are to become, as for generate.
        from_condition: what they are.
        draws: of each item: several are written beside what sums them up; by default one, of label maps the likeliest.
        steps: evaluations of the network for each walk.
        guidance: weight of the item as a condition; 1 is none, 2 to 4 keeps a text closer to it.
        sampler: the way to walk by name; bridge-mean for the likeliest picture instead of a draw.
        seed: of the first draw; the next have the next seeds.
    """
    from suffuse.outputs import output_of
    from suffuse.progress import Progress
    from suffuse.store import load
    from suffuse.translating import named_draws, read

    model, other = load(run), None if to is None else load(to)
    told, wanted = model.parse_condition(from_condition), (other or model).parse_condition(condition)
    paired = other is None and told is None and wanted is None
    output, (names, items) = output_of(model.codec.kind), read(model, source, paired)
    with Progress("translating", (draws or 1) * len(items)) as progress:
        drawn = model.translate(
            items,
            to=other,
            condition=wanted,
            from_condition=told,
            draws=draws,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            seed=seed,
            progress=progress.to,
        )
    path = out or run / Path(output.default).with_stem("translated")
    print(output.save_beside(items, named_draws(model, names, drawn, draws), path))


def tune(run: Positional[Path], evaluations: int = 6, guidance: float | None = None, seed: int = 0) -> None:
    """Fit a solver of few evaluations to a model's own fine walks, and keep it beside the model.

    Args:
        run: run folder of a trained model.
        evaluations: of the network for each walk; suffuse generate RUN --steps of as many then takes this solver.
        guidance: weight of the condition that it is for; by default the recipe's.
        seed: of the noise that is walked from.
    """
    from suffuse.progress import Progress
    from suffuse.solvers import FILE
    from suffuse.store import load

    model = load(run)
    with Progress("tuning", 0) as progress:
        tuning = model.tune(evaluations, guidance=guidance, seed=seed, progress=progress.to)
    print(f"error at {evaluations} evaluations: untuned {tuning.untuned_error:.4f}, tuned {tuning.error:.4f}")
    print("root mean squares over held-out walks, in deviations of the data, against the model's own fine walks")
    if tuning.error < tuning.untuned_error:
        model.solvers.save(run)
        print(f"kept in {run / FILE}: suffuse generate {run} --steps {evaluations} walks by it")
    else:
        print("the untuned solver is as good, and stays")


def score(
    run: Positional[Path],
    source: Positional[str],
    method: Literal["elbo", "ode"] = "elbo",
    evaluations: int = 64,
    condition: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Say how likely a model finds every item of a source: one row each, of nats and bits per dimension.

    Args:
        run: run folder of a trained model.
        source: anything that can be trained on.
        method: elbo, a lower bound; or ode, the likelihood by the probability-flow ODE: more exact, five times slower.
        evaluations: of the network for each item; the standard error falls with the root of it.
        condition: what all of them are said to be, as for generate; by default what the source says of each.
        seed: of the random numbers.
        out: the CSV file to write; by default scores.csv in the run folder.
    """
    from suffuse.scoring import score_source, summary
    from suffuse.store import load

    model, table = load(run), out or run / "scores.csv"
    told = model.parse_condition(condition)
    print(summary(score_source(model, source, table, told, method, evaluations, seed), method))
    print(table)


def classify(
    run: Positional[Path],
    source: Positional[str],
    of: str | None = None,
    condition: tuple[str, ...] = (),
    prior: Literal["even", "data"] = "even",
    evaluations: int | None = None,
    calibrate: bool = False,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Say what every item of a source is: one row each, with its likeliest class and a probability for each class.

    Of a numeric target the row has the mean and quantiles of its law given the rest of the item.

    Args:
        run: run folder of a trained model.
        source: anything that can be trained on; what it says of the classes is not looked at, but judged by.
        of: what to find out; by default the target, or the only condition of classes.
        condition: what else all of them are said to be, as field=value; by default what the source says of each.
        prior: of classes that are conditions: even, or data for their shares of the training data.
        evaluations: of the network for each item, over all its classes; by default 64 for each class.
        calibrate: fit the temperature of the probabilities to what the source says, and keep it beside the model.
        seed: of the random numbers.
        out: the CSV file to write; by default classes.csv in the run folder.
    """
    from suffuse.predicting import classify_source
    from suffuse.store import load

    model, table = load(run), out or run / "classes.csv"
    told = model.parse_condition(condition)
    print(classify_source(model, source, table, of, told, prior, evaluations, seed, run if calibrate else None))
    print(table)


def embed(
    run: Positional[Path],
    source: Positional[str],
    t: float = 0.1,
    draws: int = 4,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Turn every item of a source into a vector: mean activations of the network's last blocks.

    Args:
        run: run folder of a trained model.
        source: anything that can be trained on.
        t: time whose noise the items are given, from 0 to 1; a little of it shows more than none.
        draws: how often noise is drawn.
        seed: of the noise.
        out: the file to write, .npy or .csv, a row for each item; by default vectors.npy in the run folder.
    """
    from suffuse.predicting import embed_source
    from suffuse.store import load

    vectors = out or run / "vectors.npy"
    print(embed_source(load(run), source, vectors, t, draws, seed))
    print(vectors)


def evaluate(
    run: Positional[Path],
    source: Positional[str],
    training: str | None = None,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1000,
    steps: int | None = None,
    evaluations: int = 64,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Compare what a model draws with real items that it was not trained on: report.md, report.json and pictures.

    Args:
        run: run folder of a trained model.
        source: anything that can be trained on, of items that the model was not trained on.
        training: what it was trained on; then the report says whether the model copies.
        n: at most so many items are compared.
        steps: evaluations of the network for each walk; by default the recipe's.
        evaluations: of the network for the bound of each item.
        seed: of all random numbers.
        out: the folder to write into; by default report in the run folder.
    """
    from suffuse.evaluation import evaluate_source, markdown
    from suffuse.store import load

    folder = out or run / "report"
    print(markdown(evaluate_source(load(run), source, folder, training, n, steps, evaluations, seed)))
    print(folder / "report.md")


def info(path: Positional[str]) -> None:
    """Say what is in a run folder, or in a source of data.

    Args:
        path: a run folder, or anything that can be trained on.
    """
    from suffuse.data.sources import open_source
    from suffuse.progress import Progress
    from suffuse.store import is_run, load

    if is_run(Path(path)):
        print(load(path).describe())
        return
    source = open_source(path)
    with Progress("scanning", len(source)) as progress:
        print(source.scan(progress.to).summary())


def serve(
    runs: Positional[tuple[Path, ...]],
    host: str = "127.0.0.1",
    port: int = 8000,
    tokens: Path | None = None,
    jobs: Path | None = None,
    queue: int = 64,
    engine: Literal["ray"] | None = None,
    workers: str | None = None,
) -> None:
    """Serve models over HTTP: a route for each verb, jobs with progress, and documentation at /docs.

    Args:
        runs: run folders of trained models, each served under the name of its folder.
        host: address to listen at: any other than this machine's own needs tokens.
        port: to listen at.
        tokens: text file of tokens that are let in, one on each line.
        jobs: file to keep jobs in, so that they survive a restart; by default jobs.sqlite in the first run folder.
        queue: jobs that may wait; more are told to come again.
        engine: what does the work: by default this process; ray for workers of a Ray cluster, that of RAY_ADDRESS or
            our own, kept by Ray Serve.
        workers: processes that do it, as 4, or the least and the greatest number, as 1:4, between which it follows the
            load; by default 1 and one for each GPU, or each CPU.
    """
    from suffuse.serving.start import start

    start(runs, host, port, tokens, jobs, queue, engine, workers)


def studio(
    runs: Positional[tuple[Path, ...]] = (),
    data: Path | None = None,
    out: Path = Path("runs"),
    port: int = 8000,
    jobs: Path | None = None,
    queue: int = 64,
) -> None:
    """Open a page on this machine: every verb, training and how models work, without a line of code.

    Args:
        runs: run folders of trained models; more are trained and opened in the page.
        data: folder of data that may be trained on, beside uploads.
        out: folder that new run folders are made in.
        port: of this machine to listen at; others cannot reach it.
        jobs: file to keep jobs in; by default jobs.sqlite in the first run folder, or else in that of new ones.
        queue: jobs that may wait.
    """
    from suffuse.outputs import writing
    from suffuse.serving.start import start

    try:
        from suffuse.studio.page import mount
        from suffuse.studio.runs import Trainings
    except ImportError as missing:
        raise UserError("the studio needs Gradio: pip install 'suffuse[studio]'") from missing
    if data is not None and not data.is_dir():
        raise UserError(f"there is no folder {data}")
    with writing(out):
        kept = jobs or (runs[0] if runs else out) / "jobs.sqlite"
    start(runs, port=port, jobs=kept, queue=queue, page=lambda app: mount(app, Trainings(out, data)))


def demo(
    name: Positional[
        Literal[
            "digits",
            "mnist",
            "sharpen",
            "segments",
            "table",
            "series",
            "text",
            "translate",
            "sentiment",
            "protein",
            "video",
            "heat",
            "reaction",
            "weather",
            "music",
            "speech",
        ]
    ],
    out: Path | None = None,
    minutes: float | None = None,
    seed: int = 0,
) -> None:
    """Train a small model on real data that a package ships, and show what it learned.

    Args:
        name: which data.
        out: the run folder; by default runs/ and the name.
        minutes: time to train for; by default what the demo's figures are given for.
        seed: of the training's random numbers.
    """
    from suffuse.demos import DEMOS

    if minutes is not None and minutes <= 0:
        raise UserError(f"--minutes must be above 0, not {minutes}")
    DEMOS[name](out or Path("runs") / name, minutes, seed)
