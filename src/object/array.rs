//! Arrays: serialised as Flower sends them, and as `ndarray` has them.

use bytes::Bytes;
use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension};
use ndarray_npy::{ReadNpyExt, ReadableElement, ViewElement, ViewNpyError, ViewNpyExt, WritableElement, WriteNpyExt};

use super::{ContentError, error::BoxError};

/// Flower's name for NumPy's format.
const NUMPY: &str = "numpy.ndarray";
/// The longest header that is read. It names a dtype and a shape; NumPy itself reads at most 10,000 bytes of it.
const MAX_HEADER: usize = 64 << 10;
/// The position of the header's length in the second version of the format, in four bytes.
const LONG_HEADER_LEN: std::ops::Range<usize> = 8..12;

/// A serialised array and its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) stype: String,
    pub(super) data: Bytes,
}

impl Array {
    /// Wraps an array that is already serialised, in the format that `stype` names.
    pub fn new(dtype: impl Into<String>, shape: Vec<u64>, stype: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { dtype: dtype.into(), shape, stype: stype.into(), data: data.into() }
    }

    /// Serialises an array as NumPy does.
    pub fn from_ndarray<A, S, D>(array: &ArrayBase<S, D>) -> Self
    where
        A: Element,
        S: Data<Elem = A>,
        D: Dimension,
    {
        let mut data = Vec::with_capacity(array.len() * size_of::<A>() + 128);
        array.write_npy(&mut data).expect("writing to memory succeeds");
        let shape = array.shape().iter().map(|length| *length as u64).collect();
        Self::new(A::DTYPE, shape, NUMPY, data)
    }

    /// Reads an array that NumPy serialised, with elements of type `A`. The serialised data counts, not its description.
    ///
    /// # Errors
    /// If its format is another one, its elements are of another type, or it is damaged.
    pub fn to_ndarray<A: Element>(&self) -> Result<ArrayD<A>, ContentError> {
        let what = format_args!("array of dtype {:?}", self.dtype);
        let failed = |reason: String| ContentError::new(what, reason);
        let unreadable = |source: BoxError| ContentError::with_source(what, "it cannot be read", source);
        if self.stype != NUMPY {
            return Err(failed(format!("it is serialised as {:?}, and only {NUMPY:?} is supported", self.stype)));
        }
        if self.header_len() > MAX_HEADER {
            return Err(failed(format!("its header declares more than {MAX_HEADER} bytes")));
        }
        match ArrayViewD::<A>::view_npy(&self.data) {
            Ok(view) => Ok(view.to_owned()),
            // Its length is known to be right only now: no memory is allocated for it before.
            Err(ViewNpyError::MisalignedData) => {
                ArrayD::read_npy(&self.data[..]).map_err(|error| unreadable(error.into()))
            }
            Err(ViewNpyError::NonNativeEndian) => {
                Err(failed("its byte order is not this machine's; send it in this machine's byte order".to_owned()))
            }
            Err(ViewNpyError::WrongDescriptor(found)) => {
                Err(failed(format!("its elements are {found} and not {}; {SUPPORTED}", A::DTYPE)))
            }
            Err(error) => Err(unreadable(error.into())),
        }
    }

    /// Returns the declared type of its elements, for instance `float32`.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// Returns the declared shape.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Returns the format of the serialised data, for instance `numpy.ndarray`.
    pub fn stype(&self) -> &str {
        &self.stype
    }

    /// Returns the serialised data.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Returns the declared length of the header, if the version of the format allows long ones.
    fn header_len(&self) -> usize {
        let long = self.data.get(6).is_some_and(|version| *version > 1);
        let len = self.data.get(LONG_HEADER_LEN).filter(|_| long).and_then(|len| len.try_into().ok());
        len.map_or(0, |len| u32::from_le_bytes(len) as usize)
    }
}

const SUPPORTED: &str = "bool, integers of 8 to 64 bits, float32 and float64 are supported";

/// A type that an array's elements can have.
pub trait Element: ViewElement + ReadableElement + WritableElement + Clone {
    /// NumPy's name for it.
    const DTYPE: &'static str;
}

macro_rules! elements {
    ($($element:ty => $dtype:literal),+) => {
        $(impl Element for $element {
            const DTYPE: &'static str = $dtype;
        })+
    };
}

elements!(
    bool => "bool", i8 => "int8", i16 => "int16", i32 => "int32", i64 => "int64", u8 => "uint8", u16 => "uint16",
    u32 => "uint32", u64 => "uint64", f32 => "float32", f64 => "float64"
);

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn, arr0, arr1, arr2};

    use super::*;

    fn numpy(data: impl Into<Bytes>) -> Array {
        Array::new("float32", vec![], NUMPY, data)
    }

    fn npy(header: &str, data: &[u8]) -> Bytes {
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(header.len() + 1).unwrap().to_le_bytes());
        npy.extend(header.as_bytes());
        npy.push(b'\n');
        npy.extend(data);
        npy.into()
    }

    #[test]
    fn an_array_is_the_same_after_a_round_trip() {
        let array = arr2(&[[1.5_f32, -2.0, 0.25], [f32::MAX, f32::MIN_POSITIVE, 0.0]]);
        let sent = Array::from_ndarray(&array);
        assert_eq!((sent.dtype(), sent.shape(), sent.stype()), ("float32", &[2, 3][..], NUMPY));
        assert_eq!(sent.to_ndarray::<f32>().unwrap(), array.into_dyn());
        let scalar = Array::from_ndarray(&arr0(7_i64));
        assert_eq!(scalar.to_ndarray::<i64>().unwrap(), ArrayD::from_elem(IxDyn(&[]), 7));
        let truths = arr1(&[true, false]);
        assert_eq!(Array::from_ndarray(&truths).to_ndarray::<bool>().unwrap(), truths.into_dyn());
    }

    #[test]
    fn column_major_order_is_read_and_written() {
        let array = arr2(&[[1_u16, 2, 3], [4, 5, 6]]);
        assert_eq!(Array::from_ndarray(&array.t()).to_ndarray::<u16>().unwrap(), array.t().into_dyn());
    }

    #[test]
    fn data_at_any_address_is_read() {
        let array = arr1(&[1.0_f64, 2.0, 3.0]);
        let sent = Array::from_ndarray(&array);
        for offset in 0..16 {
            let mut moved = vec![0; offset];
            moved.extend_from_slice(sent.data());
            let moved = numpy(Bytes::from(moved).slice(offset..));
            assert_eq!(moved.to_ndarray::<f64>().unwrap(), array.clone().into_dyn());
        }
    }

    #[test]
    fn another_dtype_or_format_says_what_is_supported() {
        let half = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", &[0, 0]);
        let error = numpy(half).to_ndarray::<f32>().unwrap_err();
        assert!(error.to_string().contains("<f2"), "{error}");
        let big = npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]);
        assert!(numpy(big).to_ndarray::<f32>().unwrap_err().to_string().contains("order"));
        let pickled = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0; 4]);
        assert!(numpy(pickled).to_ndarray::<f32>().unwrap_err().to_string().contains("|O"));
        let torch = Array::new("float32", vec![1], "torch.Tensor", vec![0_u8; 4]);
        assert!(torch.to_ndarray::<f32>().unwrap_err().to_string().contains("torch.Tensor"));
    }

    #[test]
    fn a_shape_that_is_too_large_for_the_data_allocates_no_memory() {
        for shape in ["(4611686018427387904,)", "(9223372036854775807, 9223372036854775807)", "(1000000000000, 0, 9)"] {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            assert!(numpy(npy(&header, &[0; 8])).to_ndarray::<f32>().is_err(), "{shape}");
        }
    }

    #[test]
    fn an_array_cut_anywhere_is_an_error() {
        let whole = Array::from_ndarray(&arr1(&[1.0_f32, 2.0])).data().clone();
        for end in 0..whole.len() {
            assert!(numpy(whole.slice(..end)).to_ndarray::<f32>().is_err(), "{end}");
        }
        let mut long = whole.to_vec();
        long.push(0);
        assert!(numpy(long).to_ndarray::<f32>().is_err());
        let declared = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..]].concat();
        assert!(numpy(declared).to_ndarray::<f32>().unwrap_err().to_string().contains("header"));
    }
}
