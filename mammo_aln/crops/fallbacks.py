"""Every code by which an image says that something was missing, odd or guessed; counted per centre in the fallback
ledger."""

from __future__ import annotations

FALLBACK_CODES: dict[str, str] = {
    "unreadable": "the file cannot be read as a mammogram",
    # words of the stored matrix
    "high_bit_odd": "HighBit is not BitsStored - 1; the words themselves decided where the values lie",
    "bits_stored_exceeded": "values need more bits than BitsStored says, no overlay explains it; the values were kept",
    "tags_broken": "at least one tag of the header cannot be understood and was taken as absent",
    # stored values to display values
    "modality_broken": "the modality LUT or rescale slope is unusable; stored values were taken as they are",
    "no_voi": "the file has neither VOI LUT nor window; the full range of its values was used",
    "voi_broken": "a VOI LUT or window is unusable (width, function, length, or all of the image in one shade); the"
    " next sound one, else the full range, was used",
    "voi_lut_depth": "the VOI LUT's entries exceed the bits its descriptor states; its largest entry is white",
    "percentile_flat": "the breast's two percentiles coincide; the full range of values was used",
    "constant_image": "all pixels have one value",
    "padding_ignored": "the padding values cover (almost) the whole image and were taken as image",
    "presentation_lut_conflict": "PresentationLUTShape contradicts PhotometricInterpretation; the latter was believed",
    "for_processing": "a For Processing image: logarithm and inversion made here, not the vendor's processing",
    "intensity_sign_assumed": "a For Processing image without PixelIntensityRelationshipSign; photometry decided",
    # what kind of image it is
    "not_mg_modality": "Modality is not MG",
    "synthetic_2d": "a synthetic 2D image made from tomosynthesis",
    "stereotactic": "a stereotactic image",
    "magnification_view": "a magnification view, by its modifier or a magnification factor of 1.3 or more",
    "spot_compression_view": "a spot compression view",
    "implant_displaced": "an implant-displaced view",
    "implant_present": "a breast implant is in the image",
    # millimetres
    "no_spacing": "no millimetres per pixel known; crops in millimetres are refused for this image",
    "spacing_assumed_user": "the user's spacing_mm was used",
    "spacing_imager_only": "only the detector's spacing is known; the breast's magnification was not corrected",
    "spacing_pixel_only": "only an uncalibrated PixelSpacing is known",
    "spacing_out_of_range": "a spacing outside 0.005 to 1 mm was passed over",
    "magnification_out_of_range": "a magnification, by its factor or the two distances, outside 1 to 4 was passed over",
    # side, view, orientation
    "laterality_conflict": "the table's laterality contradicts the file's; the table's was believed",
    "laterality_from_pixels": "no laterality in table or file; taken from the chest wall's side (hanging convention)",
    "no_laterality": "no laterality known",
    "view_conflict": "the table's view contradicts the file's; the table's was believed",
    "no_view": "no view known",
    "orientation_disagrees": "the pixels show the chest wall on another side than the tags; the pixels were believed",
    "laterality_unlikely": "PatientOrientation is not an upright breast's of this side; the laterality may be wrong",
    "orientation_from_pixels": "left and right were decided by the pixels",
    "orientation_from_laterality": "left and right were decided by the laterality's hanging convention",
    "orientation_from_unknown": "nothing tells where the chest wall is; the image was left as stored",
    "patient_orientation_unusable": "PatientOrientation names no side of the chest wall",
    "upright_assumed": "nothing tells up from down; the image was taken to stand upright",
}
