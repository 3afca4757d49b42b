# ruff: noqa
"""Names that the package defines and others read: made by hand, for vulture alone.

A name belongs here if Lightning, PyTorch, scikit-learn, Python or a user calls it, or if it is a field or column that
is written to a file or read by its name. A function that nothing calls does not belong here: it goes.
"""

# Python: modules and pickles
_.__getattr__
_.__dir__
_.__class__

# Lightning and PyTorch
_.training_step
_.validation_step
_.test_step
_.predict_step
_.train_dataloader
_.val_dataloader
_.test_dataloader
_.predict_dataloader
_.configure_optimizers
_.configure_gradient_clipping
_.on_before_optimizer_step
_.on_predict_batch_end
_.on_predict_end
_.on_save_checkpoint
_.on_train_batch_end
_.on_train_batch_start
_.on_train_end
_.on_train_epoch_end
_.on_train_epoch_start
_.on_train_start
_.on_validation_epoch_end
_.on_validation_epoch_start
_.on_validation_start
_.log_hyperparams
_.set_epoch
_.full_state_update

# scikit-learn
_.classes_
_.n_neighbors

# Held to its truth by a test: the anatomy's own doubt of the muscle's edge
_.pectoral_confidence

# The public surface: Python, exit codes
_.PROBLEMS
_.for_data

# Named in a string: pydicom's plugin loads it
_.decode_frame

# Columns and keys of files, written by their fields' names
_.imager_pixel_spacing_mm  # images found by index
_.pixel_spacing_mm
_.spacing_source
_.spacing_row_mm  # crops.csv
_.spacing_column_mm
_.fit_id  # predictions.json of a signature
_.fusion_weights
_.dropped
_.last_resort
_.delong_p  # choice.json
_.bootstrap_p
_.bootstrap_p_holm

# Read by a page's template
_.aucs

# Fields of a statistic's result that R's cases hold beside those that pages print
_.null_loglik
_.p_greater
_.up_events
_.down_events
_.up_nonevents
_.down_nonevents
_.statistic_corrected
