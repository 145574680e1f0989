"""What the page says, in English and in Chinese."""

from collections.abc import Mapping
from types import MappingProxyType

_WORDS: Mapping[str, tuple[str, str]] = {
    "model": ("Model", "模型"),
    "create": ("Create", "生成"),
    "restore": ("Restore", "修复"),
    "change": ("Edit and translate", "编辑与转换"),
    "score": ("Score and classify", "评分与分类"),
    "train": ("Train", "训练"),
    "explain": ("Explain", "原理"),
    "models": ("Models", "模型信息"),
    "no_model": (
        "There is no model yet: train one in the tab Train, then open it.",
        "还没有模型：请在“训练”标签页训练一个，然后打开它。",
    ),
    "how_many": ("How many", "数量"),
    "seed": ("Seed", "随机种子"),
    "steps": ("Steps (0: the model's own)", "步数（0：按模型默认）"),
    "guidance": ("Weight of the condition (1: none)", "条件的权重（1：不加强）"),
    "draw": ("Draw", "生成"),
    "result": ("Result", "结果"),
    "preview": ("At a glance", "概览"),
    "files": ("Files, with how they were made", "文件（内含生成参数）"),
    "send_restore": ("Send the first to Restore and Edit", "把第一个送去修复和编辑"),
    "item": ("Your own", "你的数据"),
    "painted": ("Paint over what is to be drawn anew.", "涂抹需要重新绘制的部分。"),
    "operator": ("What was done to it", "它经历了什么"),
    "noise": ("Noise on it (empty: as said above)", "其上的噪声（留空：如上所述）"),
    "draws": ("Draws", "抽样次数"),
    "restore_it": ("Restore", "修复"),
    "strength": ("Strength: 0 keeps it, 1 draws it from nothing", "强度：0 保持原样，1 从零生成"),
    "edit_it": ("Edit", "编辑"),
    "translate_it": ("Translate", "转换"),
    "holes": ("Holes to fill, as 1.2:1.5, with a blank between several", "要填补的空缺，如 1.2:1.5，多个用空格隔开"),
    "infill_it": ("Fill holes", "填补空缺"),
    "score_it": ("How likely is it?", "有多可能？"),
    "classify_it": ("What is it?", "它是什么？"),
    "data_folder": ("Data of this machine", "本机数据"),
    "data_upload": ("Or upload files, or a folder as a .zip", "或上传文件，或打包成 .zip 的文件夹"),
    "kind": ("Kind (–: found out)", "数据类型（–：自动识别）"),
    "look": ("Look at the data", "查看数据"),
    "told": ("What the model is told (conditions)", "告诉模型的条件"),
    "run_name": ("Name of the model", "模型名称"),
    "minutes": ("Minutes", "分钟"),
    "train_it": ("Train", "开始训练"),
    "report": ("What is in it", "数据报告"),
    "runs": ("Trainings", "训练列表"),
    "stop": ("Stop", "停止"),
    "go_on": ("Go on", "继续"),
    "use": ("Open", "打开"),
    "curves": ("Loss, and error by level of noise", "损失与各噪声水平的误差"),
    "samples": ("Samples of now", "当前样本"),
    "log": ("What it says", "训练日志"),
    "walk_told": (
        "**The walk from noise.** Each sample begins as noise; at every step the network says what it takes it "
        "for. Of pictures and sounds you see the sample as it is, and beside it that guess.",
        "**从噪声出发的行走。** 每个样本都从噪声开始，网络在每一步说出它认为这是什么。"
        "对图片和声音，先显示当时的样本，旁边是网络的猜测。",
    ),
    "walk_it": ("Walk", "行走"),
    "moment": ("Moment, from noise to data", "时刻，从噪声到数据"),
    "density_told": ("**The density of what is drawn, as noise leaves it.**", "**噪声退去时，所生成数据的密度。**"),
    "density_it": ("Show the density", "显示密度"),
    "density": ("Density", "密度"),
    "errors_told": (
        "**Where it errs.** How far the network is from your own item at each level of noise; of a picture also "
        "what it looks at for one place.",
        "**哪里出错。** 在每个噪声水平上，网络离你的数据有多远；对图片还显示它为某一处看哪里。",
    ),
    "errors_it": ("Error by level of noise", "各噪声水平的误差"),
    "top": ("Place: share from the top", "位置：距顶部的比例"),
    "left": ("Place: share from the left", "位置：距左侧的比例"),
    "heat_it": ("What belongs to this place", "与此处相关的部分"),
    "attention_it": ("Where the network looks for it", "网络为此处关注的部分"),
}
WORDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "en": {key: english for key, (english, _) in _WORDS.items()},
        "zh-CN": {key: chinese for key, (_, chinese) in _WORDS.items()},
    }
)
"""By language and key."""
