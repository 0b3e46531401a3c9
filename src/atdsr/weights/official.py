"""The models that the authors of ATD have published, on their Google Drive."""

from atdsr.network.config import atd, atd_light
from atdsr.weights.store import OfficialModel

OFFICIAL = (
    OfficialModel(
        name="official/atd-x2",
        config=atd(2),
        file="001_ATD_SRx2_finetune.pth",
        parameters=20_113_217,
        data="DF2K",
    ),
    OfficialModel(
        name="official/atd-x3",
        config=atd(3),
        file="002_ATD_SRx3_finetune.pth",
        parameters=20_297_857,
        data="DF2K",
    ),
    OfficialModel(
        name="official/atd-x4",
        config=atd(4),
        file="003_ATD_SRx4_finetune.pth",
        parameters=20_260_929,
        data="DF2K",
        file_id="1J9kR9OyrOxtJ5Ygbr_W116BLBwnD4VNL",
        nbytes=163_803_535,
        published_sha256="092bf6aa82f0ecb9f681a7da6a8e65e2c1280ae5b44f1608f60742d88547b833",
    ),
    OfficialModel(
        name="official/atd-light-x2",
        config=atd_light(2),
        file="101_ATD_light_SRx2_scratch.pth",
        parameters=753_204,
        data="DIV2K",
        file_id="1ZxK7gMJXgeyHgeOaKbzpXtoElDmRWKkU",
    ),
    OfficialModel(
        name="official/atd-light-x3",
        config=atd_light(3),
        file="102_ATD_light_SRx3_finetune.pth",
        parameters=759_699,
        data="DIV2K",
        file_id="1mPcWMyDO9lOUD6DrrmNxFR67sGqnOJxp",
    ),
    OfficialModel(
        name="official/atd-light-x4",
        config=atd_light(4),
        file="103_ATD_light_SRx4_finetune.pth",
        parameters=768_792,
        data="DIV2K",
        file_id="1CxzxLWMIHDHip2nDF6A2sLBTkpypI8GU",
    ),
)
"""Every model whose weights the authors hand out; none comes with atdsr."""
