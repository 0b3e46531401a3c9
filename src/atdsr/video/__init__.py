"""Video clips: decoded, enlarged and encoded frame by frame; all else stays as it is.

From the bottom up: `config` has the options, the containers and the codecs; `colour` turns samples
into RGB and back; `reading` probes and decodes; `encoders` chooses and sets up the encoder;
`segments` keeps finished segments on disk; `muxing` writes the finished file; `channels` and
`running` let decoding, the network and encoding work side by side; `clips` is what `atdsr upscale`
hands to a batch. PyAV, with FFmpeg in it, comes with the extra `video` and is imported when a clip
is opened.
"""

from atdsr.video.clips import ClipFiles
from atdsr.video.config import CODECS, CONTAINERS, VideoConfig, VideoError

__all__ = ["CODECS", "CONTAINERS", "ClipFiles", "VideoConfig", "VideoError"]
